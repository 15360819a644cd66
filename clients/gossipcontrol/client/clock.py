"""The clock of ages: it goes on while the host sleeps, so that who was heard before a sleep was not just heard."""

from gossipcontrol.system.boot import boottime as boottime
from gossipcontrol.system.boot import time_asleep as time_asleep
