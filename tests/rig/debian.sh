# shellcheck shell=bash
# Sourced by the programs that build a directory of Debian's packages once and print its path: what they
# share. $SUREFOOT_RIG_CACHE is where it is kept, instead of target/rig; $SUREFOOT_RIG_MIRROR replaces the
# Debian mirror.

suite=trixie
rig=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
cache=${SUREFOOT_RIG_CACHE:-$rig/../../target/rig}
mkdir -p "$cache"
cache=$(readlink -f "$cache")

fail() { echo "$(realpath --relative-to="$rig/../.." "$0"): $*" >&2; exit 1; }

# lock NAME: waits for somebody else who may be building it right now.
lock() {
  exec 9>"$cache/$1.lock"
  flock 9
}

# unpack WHAT LOG DIRECTORY OPTION…: `packages`, and what they need, into a new directory.
unpack() {
  local what=$1 log=$2 directory=$3 keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  shift 3
  [ "$(id -u)" = 0 ] || fail "unpacking $what needs root: run it with sudo"
  command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: apt-get install mmdebstrap"
  [ -r "$keyring" ] || fail "$keyring is missing: apt-get install debian-archive-keyring"
  echo "unpacking $what ($suite), once: $log" >&2
  rm -rf "$directory"
  # `packages` is the caller's.
  # shellcheck disable=SC2154
  mmdebstrap --mode=root --include="$(IFS=,; echo "${packages[*]}")" --keyring="$keyring" "$@" \
    "$suite" "$directory" ${SUREFOOT_RIG_MIRROR:+"$SUREFOOT_RIG_MIRROR"} >"$log" 2>&1 ||
    fail "mmdebstrap failed:
$(tail -n 15 "$log")"
}

# unpack_robot WHAT LOG DIRECTORY: the same as the root of a robot, without what nobody reads there.
unpack_robot() {
  unpack "$@" --variant=minbase \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*'
}

# What would only make a robot's start slower, or what it has no use for; each kind of robot adds to it.
masked=(
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
  getty.target getty@.service serial-getty@.service console-getty.service
  systemd-logind.service systemd-firstboot.service systemd-hwdb-update.service
  systemd-pcrmachine.service ldconfig.service systemd-journal-catalog-update.service
  systemd-update-done.service systemd-binfmt.service systemd-random-seed.service
  systemd-remount-fs.service systemd-update-utmp.service systemd-user-sessions.service
  systemd-networkd.service systemd-networkd.socket systemd-modules-load.service
  systemd-ask-password-console.path systemd-ask-password-wall.path
  systemd-creds.socket systemd-hostnamed.socket systemd-sysext.socket systemd-initctl.socket
  dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount
  sys-kernel-config.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount
)
generators=(cryptsetup debug fstab getty gpt-auto hibernate-resume integritysetup rc-local run
  ssh system-update sysv tpm2 veritysetup)

# as_nixos ROOT SECONDS: what makes a Debian root pass for that of a NixOS robot; its journal is written to
# the disk every so many seconds.
as_nixos() {
  local root=$1 unit generator
  # On NixOS /etc/systemd/system belongs to the running generation. So what the packages enabled,
  # and what is masked, lives where the local administrator's units do.
  local units=$root/usr/local/lib/systemd/system
  mkdir -p "${units%/*}" "$root/etc/systemd/system-generators" "$root/etc/systemd/journald.conf.d" "$root/nix"
  mv "$root/etc/systemd/system" "$units"
  for unit in "${masked[@]}"; do ln -sfn /dev/null "$units/$unit"; done
  rm -f "$units/multi-user.target.wants/nix-daemon.service" # its socket does
  ln -sfn /usr/lib/systemd/system/multi-user.target "$units/default.target"
  for generator in "${generators[@]}"; do
    ln -sfn /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
  done
  printf '%s\n' '[Journal]' Storage=persistent "SyncIntervalSec=$2" RateLimitBurst=0 >"$root/etc/systemd/journald.conf.d/rig.conf"
  # switch-to-configuration insists on a NixOS machine; this file is what it looks for.
  : >"$root/etc/NIXOS"
  : >"$root/etc/fstab"
  echo robot >"$root/etc/hostname"
}

# nix_conf ROOT LINE…: robots build nothing and know no cache of their own; robot.conf is for the test to write.
nix_conf() {
  local root=$1
  shift
  mkdir -p "$root/etc/nix"
  printf '%s\n' 'experimental-features = nix-command' 'substituters =' 'sandbox = false' \
    'build-users-group =' "$@" '!include robot.conf' >"$root/etc/nix/nix.conf"
}
