#!/bin/sh
# Makes $1 the profile's system, as the newest of its generations or a new one, takes those of $4, if
# any, out of it, and hands over to the switcher of $2, to do $3. That installs the boot loader, one
# entry for each generation, with $2 as the default: the order of `nixos-rebuild switch`, and the
# switcher's own exit code.
profile=/nix/var/nix/profiles/system number=0 surplus=
for link in "$profile"-*-link; do
  n=${link#"$profile"-} n=${n%-link}
  case $(readlink -f "$link") in
    "$1") if [ "$n" -gt "$number" ]; then number=$n; fi ;;
    "${4:-none}") surplus="$surplus $n" ;;
  esac
done
if [ "$number" -gt 0 ]; then
  nix-env -p $profile --switch-generation "$number" || exit 1
else
  nix-env -p $profile --set "$1" || exit 1
fi
if [ -n "$surplus" ]; then
  # Numbers, one word each.
  # shellcheck disable=SC2086
  nix-env -p $profile --delete-generations $surplus || echo "generations$surplus stay in the profile"
fi
exec "$2/bin/switch-to-configuration" "$3"
