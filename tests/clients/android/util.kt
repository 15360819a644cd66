// Stands for what the Android SDK has of this package, as far as DeviceReporter.kt uses it.
package android.util
object Log { fun w(tag: String, message: String): Int = 0 }
