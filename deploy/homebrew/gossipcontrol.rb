# Not finished: there is no release yet. dev/homebrew_formula.py writes the address and the checksum of one; until then
# Homebrew refuses this file.
class Gossipcontrol < Formula
  desc "Control plane that keeps peer-to-peer gossip alive"
  url "NOT RELEASED: here comes the address of the source archive"
  sha256 "NOT RELEASED: here comes the checksum of the source archive"
  license "Apache-2.0"

  depends_on "python@3.13"

  # The packages are wheels with the hashes of the tested set, so no compiler is needed.
  def install
    python = Formula["python@3.13"].opt_bin/"python3.13"
    system python, "-m", "venv", libexec
    pip = libexec/"bin/pip"
    system pip, "install", "--only-binary", ":all:", "--require-hashes", "-r", "deploy/constraints.txt"
    system pip, "install", "--no-deps", "."
    bin.install_symlink libexec/"bin/gossipcontrol", libexec/"bin/gossipcontrol-server"
    pkgetc.install "deploy/gossipcontrol.toml"
  end

  service do
    run [opt_bin/"gossipcontrol", "watch", "--json"]
    keep_alive true
    log_path var/"log/gossipcontrol-watch.log"
    error_log_path var/"log/gossipcontrol-watch.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/gossipcontrol --version")
    system bin/"gossipcontrol-server", "check", pkgetc/"gossipcontrol.toml"
  end
end
