// Stands for what the Android SDK has of this package, as far as DeviceReporter.kt uses it.
package android.os
object SystemClock { fun elapsedRealtime(): Long = 0 }
