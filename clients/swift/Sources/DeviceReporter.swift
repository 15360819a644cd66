// What an app learns of its device: the scene's phase and the network's paths.

import Network
import SwiftUI
import UIKit

/// Reports to GossipControl what happens to the device on which `nodeId` runs.
@MainActor
final class DeviceReporter: ObservableObject {
    /// How long the network must be unchanged before a change is reported, in seconds: a handover is a burst.
    private static let quietTime = 0.5
    /// Time in the background after which a return counts as a resume, in seconds.
    private static let resumeTime = 30.0

    private let client: GossipControlClient
    private let nodeId: String
    private let monitor = NWPathMonitor()
    private var path: NWPath?
    private var waiting: Task<Void, Never>?
    private var leftAt: ContinuousClock.Instant?

    init(client: GossipControlClient, nodeId: String) {
        self.client = client
        self.nodeId = nodeId
        monitor.pathUpdateHandler = { [weak self] path in
            Task { @MainActor in self?.pathChanged(path) }
        }
        monitor.start(queue: .main)
    }

    deinit {
        monitor.cancel()
    }

    /// Call from `.onChange(of: scenePhase)` of the app.
    func phaseChanged(_ phase: ScenePhase) {
        switch phase {
        case .background:
            leftAt = ContinuousClock().now
            sayGoodbye()
        case .active:
            guard let leftAt else { return } // the app has just started, or was only inactive
            let away = ContinuousClock().now - leftAt
            self.leftAt = nil
            report(away > .seconds(Self.resumeTime) ? .resumed : .foreground)
        default:
            break
        }
    }

    /// iOS suspends the app within seconds: silence is no failure from now on.
    private func sayGoodbye() {
        let task = UIApplication.shared.beginBackgroundTask(expirationHandler: nil)
        Task {
            _ = try? await client.report(.sleeping, nodeIds: [nodeId], deadline: 4)
            UIApplication.shared.endBackgroundTask(task)
        }
    }

    private func pathChanged(_ new: NWPath) {
        let isFirst = path == nil
        let isSame = path == new
        path = new
        // The first update says what there is already; without a way a report could not leave.
        guard !isFirst, !isSame, new.status == .satisfied else { return }
        waiting?.cancel()
        waiting = Task {
            try? await Task.sleep(for: .seconds(Self.quietTime))
            if !Task.isCancelled { report(.changed) }
        }
    }

    private func report(_ kind: NetworkChangeKind) {
        Task {
            do {
                try await client.report(kind, nodeIds: [nodeId])
            } catch {
                print("not reported to GossipControl: \(error)") // the next change is reported anyway
            }
        }
    }
}
