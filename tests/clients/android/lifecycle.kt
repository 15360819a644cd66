// Stands for what the Android SDK has of this package, as far as DeviceReporter.kt uses it.
package androidx.lifecycle
abstract class Lifecycle { abstract fun addObserver(observer: Any); abstract fun removeObserver(observer: Any) }
interface LifecycleOwner { val lifecycle: Lifecycle }
interface DefaultLifecycleObserver { fun onStart(owner: LifecycleOwner) {}; fun onStop(owner: LifecycleOwner) {} }
object ProcessLifecycleOwner { fun get(): LifecycleOwner = TODO() }
