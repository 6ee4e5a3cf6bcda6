/env/bin/python -m agent 'it'"'"'s'
