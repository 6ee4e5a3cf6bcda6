hostfile=$(mktemp)
cat "$PBS_NODEFILE" | awk '!seen[$1]++ { print $1 }' >"$hostfile"
mpiexec --cpu-bind none --depth=64 --ppn 1 --no-abort-on-failure -n 2 --hostfile "$hostfile" /env/bin/python -m agent 'it'"'"'s'
exit_code=$?; rm -f -- "$hostfile"; (exit "$exit_code")
