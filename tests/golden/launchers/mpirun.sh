hostfile=$(mktemp)
cat "$PBS_NODEFILE" | awk '!seen[$1]++ { print $1 }' >"$hostfile"
case $(mpirun --version 2>&1) in
    *"Open MPI"* | *OpenRTE*) spelling=(--map-by ppr:1:node) ;;
    *) spelling=(-ppn 1 -disable-auto-cleanup) ;;
esac
mpirun --bind-to none --mca plm_rsh_agent ssh "${spelling[@]}" -n 2 --hostfile "$hostfile" /env/bin/python -m agent 'it'"'"'s'
exit_code=$?; rm -f -- "$hostfile"; (exit "$exit_code")
