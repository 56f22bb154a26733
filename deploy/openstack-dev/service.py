#!/usr/bin/python3
"""Run one program of OpenStack from Debian's python3-* packages: service.py MODULE ARGUMENT...

The -api and -common packages, which bring the usual commands, also bring debconf questions, users and system services; MODULE's
main() is what those commands call. nova.cmd.compute and cinder.cmd.volume get knobs: files in $OPENSTACK_DEV_KNOBS, read
at each operation, that hold it in its state for a while or let it fail. README.md lists them.
"""
import functools
import importlib
import os
import random
import sys
import time

KNOBS = os.environ.get('OPENSTACK_DEV_KNOBS', '')
READY = os.environ.get('OPENSTACK_DEV_READY', '')


def knob(name):
    """What the knob's file holds, or None when there is no such file."""
    try:
        with open(os.path.join(KNOBS, name)) as file:
            return file.read()
    except FileNotFoundError:
        return None


def seconds(text):
    """A number of seconds ("5"), or one picked between two ("2 20")."""
    low, high = ([float(word) for word in text.split()] * 2 or [0, 0])[:2]
    return random.uniform(low, high)


def hold(delay):
    """Wait as long as the knob says, or until it is gone."""
    text = knob(delay)
    if text is None:
        return
    end = time.monotonic() + seconds(text)
    while time.monotonic() < end and knob(delay) is not None:
        time.sleep(0.1)


def turnable(driver, operation, delay, failure=None):
    real = getattr(driver, operation)

    @functools.wraps(real)
    def turned(*args, **kwargs):
        hold(delay)
        if failure and knob(failure) is not None:
            raise RuntimeError('the knob %s is set' % failure)
        return real(*args, **kwargs)
    setattr(driver, operation, turned)


def add_knobs(module):
    if module == 'nova.cmd.compute':
        from nova.virt.fake import FakeDriver
        turnable(FakeDriver, 'spawn', 'spawn_delay', 'spawn_fail')
        turnable(FakeDriver, 'power_off', 'power_off_delay')
        turnable(FakeDriver, 'destroy', 'destroy_delay')
    if module == 'cinder.cmd.volume':
        from cinder.tests.fake_driver import FakeLoggingVolumeDriver
        turnable(FakeLoggingVolumeDriver, 'create_volume', 'volume_delay')
        turnable(FakeLoggingVolumeDriver, 'create_snapshot', 'snapshot_delay', 'snapshot_fail')
        turnable(FakeLoggingVolumeDriver, 'delete_snapshot', 'snapshot_delete_delay')


def announce_readiness(project):
    """Make the file $OPENSTACK_DEV_READY once the service takes requests from the bus: it has no port to knock at."""
    service = importlib.import_module(project + '.service').Service
    real = service.start

    @functools.wraps(real)
    def start(*args, **kwargs):
        real(*args, **kwargs)
        with open(READY, 'w'):
            pass
    service.start = start


def mend_cinder_notifications():
    """Debian 12's python3-oslo.messaging (14.0.3) strips the context of a notification, read_deleted included. Cinder 21.3.1 then
    refuses the None, and with notifications on, every creation of a volume ends in error. Later Cinders assume 'no'; so does this."""
    from cinder.context import RequestContext
    real = RequestContext.from_dict.__func__

    def from_dict(cls, values):
        return real(cls, dict(values, read_deleted=values.get('read_deleted') or 'no'))
    RequestContext.from_dict = classmethod(from_dict)


def main():
    name = sys.argv.pop(1)
    project, _, program = name.partition('.')
    sys.argv[0] = '%s-%s' % (project, program.rpartition('.')[2])
    module = importlib.import_module(name)
    if project == 'cinder':
        mend_cinder_notifications()
    if KNOBS:
        add_knobs(name)
    if READY and project in ('nova', 'cinder'):
        announce_readiness(project)
    sys.exit(module.main())


if __name__ == '__main__':
    main()
