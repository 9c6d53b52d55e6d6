"""Python imports this before any program, in the services of a campaign that are to have a defect."""

import os

from faults import defects

if os.environ.get('FAULTS_DEFECT'):
    defects.switch_on(os.environ['FAULTS_DEFECT'], os.environ.get('FAULTS_INSTANCE', ''))
