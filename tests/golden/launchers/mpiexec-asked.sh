hostfile=$(mktemp)
cat "$PBS_NODEFILE" | awk '!seen[$1]++ { print $1 }' >"$hostfile"
case $(mpiexec --version 2>&1) in
    *"Open MPI"* | *OpenRTE*) spelling=(--map-by ppr:1:node) ;;
    *) spelling=(-ppn 1 -disable-auto-cleanup) ;;
esac
mpiexec --bind-to none "${spelling[@]}" -n 2 --hostfile "$hostfile" /env/bin/python -m agent 'it'"'"'s'
exit_code=$?; rm -f -- "$hostfile"; (exit "$exit_code")
