// Stands for what the Android SDK has of this package, as far as DeviceReporter.kt uses it.
package android.net
import java.net.InetAddress
class Network
class LinkAddress(val address: InetAddress)
class LinkProperties { val linkAddresses: MutableList<LinkAddress> = mutableListOf() }
open class ConnectivityManager {
    open class NetworkCallback {
        open fun onLinkPropertiesChanged(network: Network, properties: LinkProperties) {}
        open fun onLost(network: Network) {}
    }
    fun registerDefaultNetworkCallback(callback: NetworkCallback) {}
    fun unregisterNetworkCallback(callback: NetworkCallback) {}
}
