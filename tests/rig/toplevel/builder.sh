# shellcheck shell=sh
# Builds the stand-in toplevel, in Nix's sandbox, where there is nothing but busybox.
# The environment has the attributes of the derivation in ./default.nix, and `out`.
# shellcheck disable=SC2154
set -eu
for applet in mkdir ln cp chmod sed cat basename rm; do
  eval "$applet() { \"$busybox/bin/busybox\" $applet \"\$@\"; }"
done

mkdir -p "$out/bin" "$out/sw/bin" "$out/etc/systemd/system" "$out/etc/robot" "$out/specialisation"

# --- scripts: they know their own toplevel, and the faults asked for
script() {
  sed -e "s|@out@|$out|g" \
    -e "s|@activateFails@|$activateFails|g" -e "s|@activateHangs@|$activateHangs|g" \
    -e "s|@logindFails@|$logindFails|g" -e "s|@checkFails@|$checkFails|g" -e "s|@bootLoaderFails@|$bootLoaderFails|g" \
    -e "s|@stage2@|$stage2|g" -e "s|@entryNames@|$entryNames|g" -e "s|@bootTries@|$bootTries|g" -e "s|@bootPreferred@|$bootPreferred|g" "$1" >"$2"
  chmod 555 "$2"
}
script "$initScript" "$out/init"
script "$activateScript" "$out/activate"
script "$preSwitchCheck" "$out/pre-switch-check"
script "$installBootLoader" "$out/install-boot-loader"
[ -z "$switchable" ] || script "$switchToConfiguration" "$out/bin/switch-to-configuration"
case $nixosRebuild in
  store-path) script "$nixosRebuildScript" "$out/sw/bin/nixos-rebuild" ;;
  old) # says nothing of --store-path, anywhere: some look into it to know what it can
    script "$nixosRebuildScript" "$out/sw/bin/nixos-rebuild.new"
    sed -e '/add_argument("--store-path")/d' -e '/parser.error("--store-path/s/--store-path/a path/' \
      "$out/sw/bin/nixos-rebuild.new" >"$out/sw/bin/nixos-rebuild"
    rm -f "$out/sw/bin/nixos-rebuild.new"
    chmod 555 "$out/sw/bin/nixos-rebuild"
    ;;
esac

# --- what a toplevel says about itself
version=26.05.robot.$generation
printf %s "$version" >"$out/nixos-version"
printf %s "$system" >"$out/system"
printf %s "$initInterface" >"$out/init-interface-version"
printf %s "$kernelParams" >"$out/kernel-params"
printf %s "$inhibitors" >"$out/switch-inhibitors"
ln -s "$kernel" "$out/kernel"
ln -s "$initrd" "$out/initrd"
ln -s "$kernelModules" "$out/kernel-modules"
cat >"$out/boot.json" <<END
{
  "org.nixos.bootspec.v1": {
    "init": "$out/init",
    "initrd": "$initrd",
    "kernel": "$kernel",
    "kernelParams": $kernelParamsJson,
    "label": "NixOS Robot $version (Linux)",
    "system": "$system",
    "toplevel": "$out"
  },
  "org.nixos.specialisation.v1": {}
}
END

[ -z "$padding" ] || ln -s "$padding" "$out/padding"

# --- units
units=$out/etc/systemd/system
enable_unit() { # unit target
  mkdir -p "$units/$2.wants"
  ln -s "../$1" "$units/$2.wants/$1"
}
# NixOS has the targets in its own directory, and a switch starts the active ones anew: that is how
# units which only the new generation has are started.
cat >"$units/multi-user.target" <<END
[Unit]
Description=Multi-User System
Requires=basic.target
Conflicts=rescue.service rescue.target
After=basic.target rescue.service rescue.target
AllowIsolate=yes
END
for target in sockets timers; do
  cat >"$units/$target.target" <<END
[Unit]
Description=All the $target
DefaultDependencies=no
Before=basic.target shutdown.target
Conflicts=shutdown.target
END
done
cat >"$units/sysinit-reactivation.target" <<END
[Unit]
Description=Reactivate sysinit units
DefaultDependencies=no
END

type=exec stop=20s
case $service in
  good) start="echo $generation is up; exec sleep infinity" ;;
  fails) type=oneshot start="echo $generation cannot find its motor >\&2; exit 1" ;;
  exits) start="until [ -e /run/robot/exit ]; do sleep 0.05; done; echo $generation lost its motor >\&2; exit 1" ;;
  silent) type=notify start="echo $generation does not get ready; exec sleep infinity" ;;
  panics) start="sync; echo c >/proc/sysrq-trigger" ;;
  freezes) start="echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze; exec sleep infinity" ;;
  offline) start="while :; do ip link set eth0 down; sleep 1; done" ;;
  clings) stop=infinity start="trap : TERM; while :; do sleep 1; done" ;;
  none) start= ;;
  *) echo "unknown service: $service" >&2; exit 1 ;;
esac
if [ -n "$start" ]; then
  sed -e "s|@generation@|$generation|" -e "s|@type@|$type|" -e "s|@start@|$start|" \
    -e "s|@timeout@|$startTimeout|" -e "s|@stop@|$stop|" >"$units/robot.service" <<'END'
[Unit]
Description=The robot's application (@generation@)

[Service]
Type=@type@
ExecStart=/bin/sh -c '@start@'
TimeoutStartSec=@timeout@
TimeoutStopSec=@stop@

[Install]
WantedBy=multi-user.target
END
  enable_unit robot.service multi-user.target
fi

if [ -n "${extra:-}" ]; then
  for program in "$extra"/bin/*; do ln -s "$program" "$out/sw/bin/"; done
  for file in "$extra"/lib/systemd/system/*; do
    name=$(basename "$file")
    ln -s "$file" "$units/$name"
    targets=$(sed -n 's/^WantedBy=//p' "$file")
    for target in $targets; do enable_unit "$name" "$target"; done
  done
fi

# --- the rest of /etc
echo "$generation" >"$out/etc/robot/generation"
if [ -n "$etc" ]; then
  cp -R "$etc/." "$out/etc/"
  chmod -R u+w "$out/etc"
fi
# What the agent reads, unless the test says something else.
formats=share/surefoot/formats.json
if [ -n "${extra:-}" ] && [ -e "$extra/$formats" ] && ! [ -e "$out/etc/surefoot/formats.json" ]; then
  mkdir -p "$out/etc/surefoot"
  ln -s "$extra/$formats" "$out/etc/surefoot/"
fi
