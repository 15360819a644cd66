// Stands for what the Android SDK has of this package, as far as DeviceReporter.kt uses it.
package android.content
abstract class Context { abstract fun <T : Any> getSystemService(kind: Class<T>): T }
