apptainer exec image.sif /env/bin/python -m agent 'it'"'"'s'
