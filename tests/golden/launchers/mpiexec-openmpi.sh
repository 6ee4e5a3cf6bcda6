hostfile=$(mktemp)
cat "$PBS_NODEFILE" | awk '!seen[$1]++ { print $1 }' >"$hostfile"
mpiexec --bind-to none --map-by ppr:1:node -n 2 --hostfile "$hostfile" /env/bin/python -m agent 'it'"'"'s'
exit_code=$?; rm -f -- "$hostfile"; (exit "$exit_code")
