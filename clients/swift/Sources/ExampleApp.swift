// How an app puts the two together.

import SwiftUI

@main
struct ExampleApp: App {
    @Environment(\.scenePhase) private var scenePhase
    @StateObject private var reporter = DeviceReporter(
        client: GossipControlClient(baseURLs: [URL(string: "https://gossipcontrol.example")!]),
        nodeId: "my-node"
    )

    var body: some Scene {
        WindowGroup {
            Text("Notes")
        }
        .onChange(of: scenePhase) { _, phase in
            reporter.phaseChanged(phase)
        }
    }
}
