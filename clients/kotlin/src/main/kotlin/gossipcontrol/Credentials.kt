package gossipcontrol

import io.grpc.CallCredentials
import io.grpc.ChannelCredentials
import io.grpc.Metadata
import io.grpc.Status
import io.grpc.TlsChannelCredentials
import java.io.File
import java.io.IOException
import java.util.concurrent.Executor

/** Files that show who the client is, and which service it believes. */
class Credentials(
    /** The certificates that signed the service's, in PEM; null: those of the system. */
    private val authority: File? = null,
    /** The client's own certificate, in PEM, with its key; null: it shows none. */
    private val certificate: File? = null,
    /** Its key, in PEM (PKCS #8). */
    private val key: File? = null,
    /** A bearer token, alone in its file, which is read again with each call; null: none is sent. */
    private val token: File? = null,
) {
    internal fun channel(): ChannelCredentials {
        require((certificate == null) == (key == null)) { "a certificate and its key belong together" }
        val builder = TlsChannelCredentials.newBuilder()
        if (authority != null) builder.trustManager(authority)
        if (certificate != null) builder.keyManager(certificate, key)
        return builder.build()
    }

    internal fun call(): CallCredentials? = token?.let(::Bearer)

    companion object {
        /** Those that GOSSIPCONTROL_TLS_AUTHORITY, _CERTIFICATE, _KEY and _TOKEN name. */
        fun fromEnvironment(): Credentials {
            fun file(name: String) = System.getenv("GOSSIPCONTROL_TLS_$name")?.ifEmpty { null }?.let(::File)
            return Credentials(file("AUTHORITY"), file("CERTIFICATE"), file("KEY"), file("TOKEN"))
        }
    }
}

private val AUTHORIZATION = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)

private class Bearer(private val token: File) : CallCredentials() {
    override fun applyRequestMetadata(info: RequestInfo, executor: Executor, applier: MetadataApplier) {
        executor.execute {
            try {
                val shown = Metadata().apply { put(AUTHORIZATION, "Bearer ${token.readText().trim()}") }
                applier.apply(shown)
            } catch (error: IOException) {
                applier.fail(Status.UNAUTHENTICATED.withDescription(error.message))
            }
        }
    }
}
