#!/bin/sh
# Ends whatever trial of $3 runs, goes back to the system $1, and reboots if that fails or takes longer
# than $2 seconds.
echo "surefoot: the agent did not answer in time; going back to $1"
systemctl stop 'surefoot-trial-*.service' 2>/dev/null

# The switcher outlives a nixos-rebuild that waits for it. It is told to end as the run that it is, by way of
# D-Bus: somebody else's switch goes on, be it in a unit of the same name. Should it go on as well, the lock
# is held below, and the robot reboots.
switchers='nixos-rebuild-switch-to-configuration*.service'
for unit in $(systemctl list-units --full --plain --no-legend "$switchers" | while read -r name _; do echo "$name"; done); do
  said=$(systemctl show --property=ExecStart --property=InvocationID -- "$unit")
  case $said in *"$3/bin/switch-to-configuration"*) ;; *) continue ;; esac
  run=$(echo "$said" | while IFS='=' read -r key value; do [ "$key" != InvocationID ] || echo "$value"; done)
  # A label of a path on D-Bus begins with no digit.
  case $run in '') continue ;; [0-9]*) object=_3$run ;; *) object=$run ;; esac
  busctl --quiet call org.freedesktop.systemd1 "/org/freedesktop/systemd1/unit/$object" \
    org.freedesktop.systemd1.Unit Stop s replace ||
    # The trial may have broken the bus; systemctl has a way of its own.
    case $(systemctl show --property=InvocationID -- "$unit") in *"$run"*) systemctl stop -- "$unit" ;; esac
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    case $(systemctl show --property=InvocationID --property=ActiveState -- "$unit") in
      *=inactive* | *=failed*) break ;;
      *"$run"*) sleep 1 ;;
      *) break ;;
    esac
  done
done

for delay in 2 5 10; do
  timeout -k 10 "$2" "$1/bin/switch-to-configuration" test
  case $? in 0|4) exit 0 ;; 124|137) break ;; esac
  sleep $delay
done
echo "surefoot: going back failed; rebooting"
# Whoever holds a lock of logind against shutdowns keeps root from the first too (since systemd 257).
systemctl reboot || systemctl start --no-block --job-mode=replace-irreversibly reboot.target
