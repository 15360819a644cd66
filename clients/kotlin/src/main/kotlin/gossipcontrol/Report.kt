package gossipcontrol

import com.gossipcontrol.v1.NetworkChangeKind
import com.gossipcontrol.v1.Platform
import io.grpc.StatusException
import kotlin.system.exitProcess
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.runBlocking

/** Tells GossipControl what happened to this device: report ADDRESS NODE KIND SECONDS. */
fun main(arguments: Array<String>) {
    if (arguments.size != 4) {
        System.err.println("usage: report ADDRESS NODE changed|resumed|sleeping|foreground SECONDS")
        exitProcess(2)
    }
    val (address, node, kind, seconds) = arguments
    val change = NetworkChangeKind.valueOf("NETWORK_CHANGE_KIND_${kind.uppercase()}")
    try {
        client(address).use { client ->
            runBlocking { client.report(change, Platform.PLATFORM_LINUX, listOf(node), seconds.toDouble().seconds) }
                .forEach { println("${it.nodeId} ${it.storeId} ${it.kind}") }
        }
    } catch (error: StatusException) {
        System.err.println("${error.message} ${error.status.cause ?: ""}")
        exitProcess(1)
    }
    exitProcess(0) // threads of the connection would be waited for
}

/** Of the service at HOST:PORT without TLS, or of the hub at tls:HOST:PORT; replicas are listed with commas. */
private fun client(address: String): Client {
    val listed = address.split(',').map(String::trim)
    val hubs = listed.filter { it.startsWith("tls:") }.map { it.removePrefix("tls:") }
    require(hubs.isEmpty() || hubs.size == listed.size) { "$address: all addresses, or none, are with tls:" }
    return if (hubs.isEmpty()) Client(listed, plain = true) else Client(hubs, Credentials.fromEnvironment())
}
