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
import io.grpc.Status
import io.grpc.StatusException
import io.grpc.protobuf.StatusProto
import java.util.UUID
import java.util.concurrent.TimeUnit
import kotlin.random.Random
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.nanoseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource
import kotlinx.coroutines.delay

/** How long one attempt may take. */
private val ATTEMPT_TIME = 5.seconds

/** Bounds the first wait between two attempts; it doubles with each. */
private val FIRST_WAIT = 200.milliseconds

/** Bounds every wait that the service does not ask for. */
private val LONGEST_WAIT = 10.seconds

private val RETRYABLE =
    setOf(Status.Code.UNAVAILABLE, Status.Code.RESOURCE_EXHAUSTED, Status.Code.DEADLINE_EXCEEDED, Status.Code.ABORTED)

/** Reports to GossipControl what happened to a device, over one connection. */
class Client private constructor(private val channel: ManagedChannel, shown: CallCredentials?) : AutoCloseable {
    private val service = GossipControlCoroutineStub(channel).withCallCredentials(shown)

    /** A service over TLS that shows no certificate; `plain`: without TLS, on loopback or through a tunnel. */
    constructor(host: String, port: Int, plain: Boolean = false) : this(
        ManagedChannelBuilder.forAddress(host, port).apply { if (plain) usePlaintext() }.build(),
        null,
    )

    /** A hub, over TLS. */
    constructor(host: String, port: Int, shown: Credentials) : this(
        Grpc.newChannelBuilderForAddress(host, port, shown.channel()).build(),
        shown.call(),
    )

    /**
     * Say that something happened just now to the device on which the nodes run.
     *
     * Tries until [deadline] has passed: with the same request id, so that the service decides once; with the age of
     * the change, so that a late report is known to be late. Throws a StatusException that another attempt cannot mend
     * at once.
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
        while (true) {
            try {
                request.ageMs = happened.elapsedNow().inWholeMilliseconds
                return tryOnce(request.build(), deadline - happened.elapsedNow()).decisionsList
            } catch (error: StatusException) {
                val wait = waitTime(attempt++, error)
                if (error.status.code !in RETRYABLE || happened.elapsedNow() + wait >= deadline) throw error
                delay(wait)
            }
        }
    }

    private suspend fun tryOnce(request: ReportNetworkChangeRequest, left: Duration): ReportNetworkChangeResponse {
        val limit = minOf(left, ATTEMPT_TIME).inWholeMilliseconds.coerceAtLeast(1)
        return service.withDeadlineAfter(limit, TimeUnit.MILLISECONDS).reportNetworkChange(request)
    }

    /** The network changed: connect again at once, instead of when the old connection is found dead. */
    fun networkChanged() = channel.enterIdle()

    override fun close() {
        channel.shutdownNow()
    }
}

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
