#!/bin/sh
# Ends what the switcher in the units $2… runs as a user, where it has run for longer than $1 seconds. The
# switcher runs a part of itself as each user who is logged in, or su (before 25.05), and waits for it without
# a limit. What activation scripts run as a user is left alone.
limit=$1
shift

# state, parent, …: the words after the name, which may hold anything (proc_pid_stat(5)).
words() { read -r line 2>/dev/null <"/proc/$1/stat" && echo "${line##*) }"; }
parent() { words "$1" | while read -r _ pid _; do echo "$pid"; done; }
user() { while read -r key real _; do [ "$key" != Uid: ] || echo "$real"; done 2>/dev/null <"/proc/$1/status"; }
is_switcher() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q switch-to-conf; }
age() {
  start=$(words "$1" | cut -d ' ' -f 20)
  read -r up _ </proc/uptime
  echo $((${up%.*} - ${start:-0} / 100))
}

for group in $(systemctl show --property=ControlGroup --value -- "$@"); do
  while read -r pid; do
    above=$(parent "$pid")
    [ "$(user "$pid")" != 0 ] || continue
    [ "$(user "$above")" = 0 ] || continue
    name=
  read -r name 2>/dev/null <"/proc/$above/comm"
    is_switcher "$above" || { [ "$name" = su ] && is_switcher "$(parent "$above")"; } || continue
    [ "$(age "$pid")" -gt "$limit" ] || continue
    echo "ending what the switcher runs as user $(user "$pid"): it has not ended within $limit s"
    kill -KILL "$pid"
  done <"/sys/fs/cgroup$group/cgroup.procs"
done
