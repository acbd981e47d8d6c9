#!/bin/sh
# Makes $1 the profile's system, as the newest of its generations or a new one, takes those of $4, if
# any, out of it, and hands over to the switcher of $2, to do $3. That installs the boot loader, one
# entry for each generation, with $2 as the default: the order of `nixos-rebuild switch`, and the
# switcher's own exit code. $5 is "back" for a way back, which is taken as well where Nix does not answer.
profile=/nix/var/nix/profiles/system number=0 default='' surplus='' back=${5:-}
for link in "$profile"-*-link; do
  n=${link#"$profile"-} n=${n%-link} system=$(readlink -f "$link")
  if [ "$system" = "$2" ]; then default=$n; fi
  case $system in
    "$1") if [ "$n" -gt "$number" ]; then number=$n; fi ;;
    "${4:-none}") surplus="$surplus $n" ;;
  esac
done

# nix-env; on a way back it may take so long, and no longer.
profiled() {
  if [ "$back" = back ]; then
    timeout -k 10 100 nix-env -p $profile "$@"
  else
    nix-env -p $profile "$@"
  fi
}

# Sets the links as nix-env does (src/libstore/profiles.cc), under its lock: a generation is a link of the next
# number, and the profile one to that link's name, made beside it and renamed.
link_by_hand() {
  # Whoever was the last to hold the lock writes into the file and throws it away.
  for _ in 1 2 3; do
    exec 9>>"$profile.lock" || return 1
    flock -w 20 9 || return 1
    if [ ! -s /proc/$$/fd/9 ]; then break; fi
  done
  if [ "$number" = 0 ]; then
    for link in "$profile"-*-link; do
      n=${link#"$profile"-} n=${n%-link}
      case $n in '' | *[!0-9]*) continue ;; esac
      if [ "$n" -gt "$number" ]; then number=$n; fi
    done
    number=$((number + 1))
    ln -s "$1" "$profile-$number-link" || return 1
  fi
  ln -sfn "${profile##*/}-$number-link" "$profile.surefoot" || return 1
  mv -fT "$profile.surefoot" $profile || return 1
  sync "${profile%/*}"
  exec 9>&-
}

# A collector may have taken the default's generation out of the profile. Without one the installer makes no
# entry for it, and takes its kernel away.
if [ "$1" != "$2" ] && [ -z "$default" ]; then
  profiled --set "$2" || exit 1
fi

if [ "$number" -gt 0 ]; then
  profiled --switch-generation "$number"
else
  profiled --set "$1"
fi || {
  [ "$back" = back ] || exit 1
  echo "nix-env does not set the profile; its links are set without it"
  link_by_hand "$1" || exit 1
}
if [ -n "$surplus" ]; then
  # Numbers, one word each.
  # shellcheck disable=SC2086
  profiled --delete-generations $surplus || echo "generations$surplus stay in the profile"
fi
exec "$2/bin/switch-to-configuration" "$3"
