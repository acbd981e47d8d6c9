#!/bin/sh
# Ends what the switcher in the units $2… runs as a user, where it has run for longer than $1 seconds. The
# switcher runs a part of itself as each user who is logged in, or su (before 25.05), and waits for it without
# a limit. What activation scripts run as a user is left alone.
limit=$1
shift

# state, parent, …: the words after the name, which may hold anything, also ends of lines (proc_pid_stat(5)).
words() {
  line=') gone 0'
  while read -r part; do line="$line $part"; done 2>/dev/null <"/proc/$1/stat"
  line=${line##*) }
}
user() { while read -r key real _; do [ "$key" != Uid: ] || echo "$real"; done 2>/dev/null <"/proc/$1/status"; }
is_switcher() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q switch-to-conf; }

# Who waits for such a part is root's, so nobody else takes it out of its control group.
switchers=' ' sus=' '
for group in $(systemctl show --property=ControlGroup --value -- "$@"); do
  while read -r pid; do
    name=
    read -r name 2>/dev/null <"/proc/$pid/comm"
    if [ "$(user "$pid")" != 0 ]; then
      continue
    elif [ "$name" = su ]; then
      sus="$sus$pid "
    elif is_switcher "$pid"; then
      switchers="$switchers$pid "
    fi
  done <"/sys/fs/cgroup$group/cgroup.procs"
done

# A part is its child wherever it is: users may move their processes to groups of their own.
read -r up _ </proc/uptime
for pid in /proc/[0-9]*; do
  pid=${pid#/proc/}
  words "$pid"
  # shellcheck disable=SC2086
  set -- $line
  case $switchers in *" $2 "*) [ "$(user "$pid")" != 0 ] || continue ;; *)
    # What su starts is the user's, also where it has become another one since.
    case $sus in *" $2 "*) words "$2" ;; *) continue ;; esac
    parent=${line#* }
    case $switchers in *" ${parent%% *} "*) ;; *) continue ;; esac
    ;;
  esac
  shift 19
  [ $((${up%.*} - ${1:-0} / 100)) -gt "$limit" ] || continue
  echo "ending what the switcher runs as user $(user "$pid"): it has not ended within $limit s"
  kill -KILL "$pid"
done
