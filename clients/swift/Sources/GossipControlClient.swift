// Reports to GossipControl what happened to a device: HTTP with JSON, without generated code and without packages.
// Not compiled by this repository, which has no Swift compiler; its syntax is checked.

import Foundation

/// What happened to the device.
enum NetworkChangeKind: String, Encodable {
    case changed = "NETWORK_CHANGE_KIND_CHANGED"
    case resumed = "NETWORK_CHANGE_KIND_RESUMED"
    case sleeping = "NETWORK_CHANGE_KIND_SLEEPING"
    case foreground = "NETWORK_CHANGE_KIND_FOREGROUND"
}

/// What the service decided for one store of one node.
struct Decision: Decodable {
    let nodeId: String
    let storeId: String?
    let kind: String
    let message: String?
}

/// An answer that is not a success.
struct ServiceError: Error, Decodable {
    /// The code of gRPC, for example `invalid_argument`.
    let code: String
    let message: String?
}

actor GossipControlClient {
    /// How long one attempt may take, in seconds.
    private static let attemptTime = 5.0
    /// Bounds the first wait between two attempts, in seconds; it doubles with each.
    private static let firstWait = 0.2
    /// Bounds every wait that the service does not ask for, in seconds.
    private static let longestWait = 10.0
    /// Statuses of HTTP that another attempt may mend: too many requests, unavailable, deadline exceeded, aborted.
    private static let retryable: Set<Int> = [429, 503, 504, 409]

    private struct Report: Encodable {
        let requestId: String
        let nodeIds: [String]
        let kind: NetworkChangeKind
        let platform: String
        let parkUnknown: Bool
        var ageMs: Int
    }

    private struct Answer: Decodable {
        let decisions: [Decision]?
    }

    private enum Outcome {
        case answered([Decision])
        case failed(any Error, retryAfter: Double?)
    }

    private let urls: [URL]
    /// The number of the address to ask next.
    private var current = 0
    private let session: URLSession

    /// The service's HTTP address: `listen.http`, or a proxy with TLS before it. A phone needs TLS for other hosts.
    /// Of replicas give all: only the one that serves listens for HTTP, and it is found.
    init(baseURLs: [URL]) {
        precondition(!baseURLs.isEmpty)
        urls = baseURLs.map { $0.appendingPathComponent("gossipcontrol.v1.GossipControl/ReportNetworkChange") }
        let configuration = URLSessionConfiguration.ephemeral
        configuration.timeoutIntervalForRequest = Self.attemptTime
        configuration.waitsForConnectivity = false
        session = URLSession(configuration: configuration)
    }

    /// Say that something happened just now to the device on which the nodes run.
    ///
    /// Tries until `deadline` seconds have passed: with the same request id, so that the service decides once; with the
    /// age of the change, so that a late report is known to be late. Throws at once what another attempt cannot mend.
    @discardableResult
    func report(_ kind: NetworkChangeKind, nodeIds: [String], deadline: Double = 60) async throws -> [Decision] {
        // ContinuousClock goes on while the device sleeps.
        let clock = ContinuousClock()
        let happened = clock.now
        var report = Report(
            requestId: UUID().uuidString.lowercased(),
            nodeIds: nodeIds,
            kind: kind,
            platform: "PLATFORM_IOS",
            parkUnknown: true,
            ageMs: 0
        )
        var attempt = 0
        var asked = 0
        while true {
            let number = current
            report.ageMs = Int(Self.seconds(clock.now - happened) * 1000)
            switch await attemptOnce(report, at: urls[number]) {
            case .answered(let decisions):
                return decisions
            case .failed(let error, let retryAfter):
                guard let pause = retryAfter, Self.seconds(clock.now - happened) < deadline else { throw error }
                if pause == 0 { // one that asks for a pause serves; else another replica may
                    asked += 1
                    if current == number { current = (number + 1) % urls.count }
                    if asked % urls.count != 0 { continue }
                }
                let bound = min(Self.firstWait * pow(2, Double(min(attempt, 10))), Self.longestWait)
                let wait = pause > 0 ? pause : Double.random(in: 0...bound)
                guard Self.seconds(clock.now - happened) + wait < deadline else { throw error }
                try await Task.sleep(for: .seconds(wait))
                attempt += 1
            }
        }
    }

    /// One POST. `retryAfter` is the seconds that the service asks for, 0 when it asks for none, nil when another
    /// attempt is pointless.
    private func attemptOnce(_ report: Report, at url: URL) async -> Outcome {
        do {
            var request = URLRequest(url: url)
            request.httpMethod = "POST"
            request.setValue("application/json", forHTTPHeaderField: "Content-Type")
            request.setValue(String(Int(Self.attemptTime * 1000)), forHTTPHeaderField: "Connect-Timeout-Ms")
            request.httpBody = try JSONEncoder().encode(report)
            let (data, response) = try await session.data(for: request)
            guard let http = response as? HTTPURLResponse else { throw URLError(.badServerResponse) }
            if http.statusCode == 200 {
                return .answered(try JSONDecoder().decode(Answer.self, from: data).decisions ?? [])
            }
            let unknown = ServiceError(code: "unknown", message: "HTTP status \(http.statusCode)")
            let error = (try? JSONDecoder().decode(ServiceError.self, from: data)) ?? unknown
            let asked = http.value(forHTTPHeaderField: "Retry-After").flatMap(Double.init)
            return .failed(error, retryAfter: Self.retryable.contains(http.statusCode) ? asked ?? 0 : nil)
        } catch let error as URLError where error.code != .cancelled {
            return .failed(error, retryAfter: 0) // no way, no answer, connection lost
        } catch {
            return .failed(error, retryAfter: nil)
        }
    }

    private static func seconds(_ duration: Duration) -> Double {
        Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    }
}
