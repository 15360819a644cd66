package gossipcontrol

import com.google.protobuf.InvalidProtocolBufferException
import com.google.rpc.RetryInfo
import com.gossipcontrol.v1.Decision
import com.gossipcontrol.v1.GossipControlGrpcKt.GossipControlCoroutineStub
import com.gossipcontrol.v1.NetworkChangeKind
import com.gossipcontrol.v1.Platform
import com.gossipcontrol.v1.ReportNetworkChangeRequest
import com.gossipcontrol.v1.ReportNetworkChangeResponse
import io.grpc.CallCredentials
import io.grpc.Grpc
import io.grpc.ManagedChannel
import io.grpc.ManagedChannelBuilder
import io.grpc.Metadata
import io.grpc.Status
import io.grpc.StatusException
import io.grpc.protobuf.StatusProto
import java.util.UUID
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import kotlin.random.Random
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.nanoseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource
import kotlinx.coroutines.delay

/** How long one attempt may take. */
private val ATTEMPT_TIME = 5.seconds

/** The same where there is another server to ask. */
private val SHORT_TIME = 2.seconds

/** Bounds the first wait between two attempts; it doubles with each. */
private val FIRST_WAIT = 200.milliseconds

/** Bounds every wait that the service does not ask for. */
private val LONGEST_WAIT = 10.seconds

/** With these another server may do better; one that stops cancels its calls. */
private val ELSEWHERE = setOf(Status.Code.UNAVAILABLE, Status.Code.DEADLINE_EXCEEDED, Status.Code.CANCELLED)

private val RETRYABLE = ELSEWHERE + setOf(Status.Code.RESOURCE_EXHAUSTED, Status.Code.ABORTED)

/** The key of the trailing metadata in which a standby says where the owner is. */
private val OWNER = Metadata.Key.of("gossipcontrol-owner", Metadata.ASCII_STRING_MARSHALLER)

/** A server at host:port, and the connection to it. */
private class Server(val address: String, val channel: ManagedChannel, shown: CallCredentials?) {
    val service = GossipControlCoroutineStub(channel).withCallCredentials(shown)
}

/** Reports to GossipControl what happened to a device, over one connection to each server. */
class Client private constructor(private val servers: List<Server>) : AutoCloseable {
    /** The number of the server to ask next. */
    private val current = AtomicInteger()

    private val attemptTime = if (servers.size > 1) SHORT_TIME else ATTEMPT_TIME

    /**
     * The service at host:port over TLS without a certificate, or its replicas, of which the one that serves is found;
     * `plain`: without TLS, on loopback or through a tunnel.
     */
    constructor(addresses: List<String>, plain: Boolean = false) : this(
        addresses.map {
            Server(it, ManagedChannelBuilder.forTarget(it).apply { if (plain) usePlaintext() }.build(), null)
        },
    )

    /** A hub at host:port over TLS, or its replicas. */
    constructor(addresses: List<String>, shown: Credentials) : this(
        addresses.map { Server(it, Grpc.newChannelBuilder(it, shown.channel()).build(), shown.call()) },
    )

    /** One service over TLS that shows no certificate; `plain`: without TLS, on loopback or through a tunnel. */
    constructor(host: String, port: Int, plain: Boolean = false) : this(listOf(authority(host, port)), plain)

    /** One hub, over TLS. */
    constructor(host: String, port: Int, shown: Credentials) : this(listOf(authority(host, port)), shown)

    init {
        require(servers.isNotEmpty()) { "no address" }
    }

    /**
     * Say that something happened just now to the device on which the nodes run.
     *
     * Tries until [deadline] has passed: with the same request id, so that the service decides once; with the age of
     * the change, so that a late report is known to be late. Throws a StatusException that another attempt cannot mend
     * at once; at the deadline the last one that the deadline did not cause, if there was one.
     */
    suspend fun report(
        kind: NetworkChangeKind,
        platform: Platform,
        nodeIds: List<String>,
        deadline: Duration,
    ): List<Decision> {
        val happened = TimeSource.Monotonic.markNow()
        val request =
            ReportNetworkChangeRequest.newBuilder()
                .setRequestId(UUID.randomUUID().toString())
                .addAllNodeIds(nodeIds)
                .setKind(kind)
                .setPlatform(platform)
                .setParkUnknown(true) // the node may attach later
        var attempt = 0
        var asked = 0
        var reason: StatusException? = null
        while (true) {
            val number = current.get()
            val left = deadline - happened.elapsedNow()
            try {
                request.ageMs = happened.elapsedNow().inWholeMilliseconds
                return tryOnce(servers[number], request.build(), left).decisionsList
            } catch (error: StatusException) {
                if (error.status.code !in RETRYABLE) throw error
                val isCut = left < attemptTime && error.status.code == Status.Code.DEADLINE_EXCEEDED
                val told = reason?.takeIf { isCut } ?: error
                reason = told
                if (happened.elapsedNow() >= deadline) throw told
                asked++
                if (error.status.code in ELSEWHERE) {
                    current.compareAndSet(number, next(number, error))
                    if (asked % servers.size != 0) continue // another server may serve
                }
                val wait = waitTime(attempt++, error)
                if (happened.elapsedNow() + wait >= deadline) throw told
                delay(wait)
            }
        }
    }

    /** The server that a standby named, if it is one of those given: no other address is believed. Else the next. */
    private fun next(number: Int, error: StatusException): Int {
        val named = error.trailers?.get(OWNER)
        val owner = servers.indices.firstOrNull { it != number && servers[it].address == named }
        return owner ?: ((number + 1) % servers.size)
    }

    private suspend fun tryOnce(
        server: Server,
        request: ReportNetworkChangeRequest,
        left: Duration,
    ): ReportNetworkChangeResponse {
        val limit = minOf(left, attemptTime).inWholeMilliseconds.coerceAtLeast(1)
        return server.service.withDeadlineAfter(limit, TimeUnit.MILLISECONDS).reportNetworkChange(request)
    }

    /** The network changed: connect again at once, instead of when the old connection is found dead. */
    fun networkChanged() = servers.forEach { it.channel.enterIdle() }

    override fun close() {
        servers.forEach { it.channel.shutdownNow() }
    }
}

/** host:port, with brackets around an address of IPv6. */
private fun authority(host: String, port: Int): String = if (':' in host) "[$host]:$port" else "$host:$port"

/** What the service asks for (RetryInfo), or exponential backoff with full jitter. */
private fun waitTime(attempt: Int, error: StatusException): Duration {
    val details = StatusProto.fromThrowable(error)?.detailsList.orEmpty()
    val asked = details.firstOrNull { it.`is`(RetryInfo::class.java) }
    if (asked != null) {
        try {
            val delay = asked.unpack(RetryInfo::class.java).retryDelay
            return delay.seconds.seconds + delay.nanos.nanoseconds
        } catch (_: InvalidProtocolBufferException) {
            // As if it had not been there.
        }
    }
    return minOf(FIRST_WAIT * (1 shl minOf(attempt, 10)), LONGEST_WAIT) * Random.nextDouble()
}
