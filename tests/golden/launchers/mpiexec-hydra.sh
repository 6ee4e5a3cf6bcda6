hostfile=$(mktemp)
cat "$PBS_NODEFILE" | awk '!seen[$1]++ { print $1 }' >"$hostfile"
mpiexec.mpich --bind-to none -ppn 1 -disable-auto-cleanup -n 2 --hostfile "$hostfile" /env/bin/python -m agent 'it'"'"'s'
exit_code=$?; rm -f -- "$hostfile"; (exit "$exit_code")
