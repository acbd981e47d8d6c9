# What a release brings to the robots of a benchmark: the agent, and as many store paths as a NixOS
# system has, some of them new in each release.
{
  busybox,
  # The agent's package, by its store path.
  agent,
  # The release's name: what differs between releases depends on it.
  release,
  # Store paths in all, and how many of them only this release has.
  paths ? 1000,
  fresh ? 300,
}:
let
  # A few kilobytes each, as most paths of a system are small.
  text =
    owner: number:
    builtins.concatStringsSep "\n" (
      builtins.genList (
        line: builtins.hashString "sha512" "${owner} ${toString number} ${toString line}"
      ) 30
    );
  part =
    number:
    builtins.toFile "part-${toString number}" (
      text (if number < fresh then release else "every release") number
    );
in
derivation {
  name = "release-${release}";
  system = builtins.currentSystem;
  inherit busybox;
  agent = builtins.appendContext agent {
    "${agent}" = {
      path = true;
    };
  };
  parts = builtins.toFile "parts" (builtins.concatStringsSep "\n" (builtins.genList part paths));
  builder = "${busybox}/bin/sh";
  args = [
    "-c"
    ''
      b=$busybox/bin/busybox
      $b mkdir $out && $b ln -s $agent/bin $agent/lib $parts $out
    ''
  ];
}
