// For an Android app. Needs the Android SDK, androidx.lifecycle:lifecycle-process and grpc-okhttp in the
// place of grpc-netty-shaded; the build of this folder leaves it out. The manifest needs the permissions INTERNET and
// ACCESS_NETWORK_STATE.
package gossipcontrol.android

import android.content.Context
import android.net.ConnectivityManager
import android.net.LinkProperties
import android.net.Network
import android.os.SystemClock
import android.util.Log
import androidx.lifecycle.DefaultLifecycleObserver
import androidx.lifecycle.LifecycleOwner
import androidx.lifecycle.ProcessLifecycleOwner
import com.gossipcontrol.v1.NetworkChangeKind
import com.gossipcontrol.v1.Platform
import gossipcontrol.Client
import io.grpc.StatusException
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.minutes
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch

/** How long the network must be unchanged before a change is reported: a handover is a burst of callbacks. */
private val QUIET_TIME = 500.milliseconds

/** How long a report is tried. */
private val DEADLINE = 1.minutes

/** Time in the background after which a return counts as a resume. */
private const val RESUME_MILLIS = 30_000L

/** Reports to GossipControl what happens to the device on which [nodeId] runs; [scope] is one of the main thread. */
class DeviceReporter(
    private val context: Context,
    private val client: Client,
    private val nodeId: String,
    private val scope: CoroutineScope,
) : ConnectivityManager.NetworkCallback(), DefaultLifecycleObserver {
    private val connectivity = context.getSystemService(ConnectivityManager::class.java)
    private var waiting: Job? = null
    private var network: Network? = null
    private var addresses: Set<String>? = null
    private var leftAt = 0L

    /** Report from now on. */
    fun start() {
        connectivity.registerDefaultNetworkCallback(this)
        ProcessLifecycleOwner.get().lifecycle.addObserver(this)
    }

    /** Report no more. */
    fun stop() {
        connectivity.unregisterNetworkCallback(this)
        ProcessLifecycleOwner.get().lifecycle.removeObserver(this)
        waiting?.cancel()
    }

    // Called on a thread of the connectivity service, first with the network that there is already.
    override fun onLinkPropertiesChanged(network: Network, properties: LinkProperties) {
        scope.launch {
            val found = properties.linkAddresses.mapNotNull { it.address.hostAddress }.toSet()
            val isFirst = addresses == null
            if (network == this@DeviceReporter.network && found == addresses) return@launch
            this@DeviceReporter.network = network
            addresses = found
            if (!isFirst) reportLater()
        }
    }

    // The way is gone. What replaces it is reported when it is there.
    override fun onLost(network: Network) {
        scope.launch { addresses = emptySet() }
    }

    // The app came to the foreground. Android froze or throttled it meanwhile.
    override fun onStart(owner: LifecycleOwner) {
        if (leftAt == 0L) return // the app has just started
        val isResume = SystemClock.elapsedRealtime() - leftAt > RESUME_MILLIS
        val kind = NetworkChangeKind.NETWORK_CHANGE_KIND_RESUMED.takeIf { isResume }
        report(kind ?: NetworkChangeKind.NETWORK_CHANGE_KIND_FOREGROUND)
    }

    override fun onStop(owner: LifecycleOwner) {
        leftAt = SystemClock.elapsedRealtime()
    }

    private fun reportLater() {
        waiting?.cancel()
        waiting = scope.launch {
            delay(QUIET_TIME)
            client.networkChanged()
            report(NetworkChangeKind.NETWORK_CHANGE_KIND_CHANGED)
        }
    }

    private fun report(kind: NetworkChangeKind) {
        scope.launch {
            try {
                client.report(kind, Platform.PLATFORM_ANDROID, listOf(nodeId), DEADLINE)
            } catch (error: StatusException) {
                Log.w("GossipControl", "not reported: ${error.message}") // the next change is reported anyway
            }
        }
    }
}
