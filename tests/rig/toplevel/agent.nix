# The agent as a package: its programs and units, the units pointing at the programs.
{
  busybox,
  # A directory with bin/surefootd, bin/surefoot, units/*, and perhaps formats.json.
  files,
  # Makes another package of the same programs: an update of the agent itself.
  revision ? "1",
  system ? builtins.currentSystem,
}:
derivation {
  name = "surefoot-${revision}";
  inherit system busybox;
  files = builtins.path { path = files; name = "surefoot-files"; };
  builder = "${busybox}/bin/sh";
  args = [
    (builtins.toFile "builder.sh" ''
      set -eu
      b=$busybox/bin/busybox
      $b mkdir -p $out/lib/systemd/system
      $b cp -R $files/bin $out/bin
      if [ -e $files/formats.json ]; then # agents of before it have none
        $b mkdir -p $out/share/surefoot
        $b cp $files/formats.json $out/share/surefoot
      fi
      for unit in $files/units/*; do
        $b sed "s|/usr/bin/|$out/bin/|" $unit >$out/lib/systemd/system/''${unit##*/}
      done
    '')
  ];
}
