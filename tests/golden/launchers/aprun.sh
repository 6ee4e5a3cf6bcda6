aprun -n 2 -N 1 -d 64 -cc none /env/bin/python -m agent 'it'"'"'s'
