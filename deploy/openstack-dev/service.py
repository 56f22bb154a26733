#!/usr/bin/python3
"""Run one program of OpenStack from Debian's python3-* packages: service.py MODULE ARGUMENT...

The -api and -common packages have the usual commands, but also debconf questions, users and system services. Those
commands call MODULE's main(), and so does this. nova.cmd.compute and cinder.cmd.volume get knobs: files in
$OPENSTACK_DEV_KNOBS, read at each operation, that delay it or let it fail. README.md lists them.
"""
import functools
import importlib
import io
import os
import random
import sys
import time

KNOBS = os.environ.get('OPENSTACK_DEV_KNOBS', '')
READY = os.environ.get('OPENSTACK_DEV_READY', '')


def knob(name):
    """Return the value of a knob, None if its file does not exist."""
    try:
        with open(os.path.join(KNOBS, name)) as file:
            return file.read()
    except FileNotFoundError:
        return None


def seconds(text):
    """Return a number of seconds ("5"), or a random one between two ("2 20")."""
    low, high = ([float(word) for word in text.split()] * 2 or [0, 0])[:2]
    return random.uniform(low, high)


def hold(delay):
    """Wait for the time of the knob, or until the knob is removed."""
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
        turnable(FakeDriver, 'attach_volume', 'attach_delay')
        turnable(FakeDriver, 'detach_volume', 'detach_delay')
    if module == 'cinder.cmd.volume':
        from cinder.tests.fake_driver import FakeLoggingVolumeDriver
        turnable(FakeLoggingVolumeDriver, 'create_volume', 'volume_delay')
        turnable(FakeLoggingVolumeDriver, 'delete_volume', 'volume_delete_delay')
        turnable(FakeLoggingVolumeDriver, 'create_snapshot', 'snapshot_delay', 'snapshot_fail')
        turnable(FakeLoggingVolumeDriver, 'delete_snapshot', 'snapshot_delete_delay')
        turnable(FakeLoggingVolumeDriver, 'extend_volume', 'extend_delay')
        turnable(FakeLoggingVolumeDriver, 'copy_volume_to_image', 'upload_delay')


def complete_fake_volume_driver():
    """Add the operations that the fake driver leaves to LVM, which would look for a real disk: extend a volume, fill it
    from an image (boot from volume), upload it as an image, change its type, and adopt an existing volume or snapshot.
    No data is moved; an uploaded image has one byte."""
    from cinder.tests.fake_driver import FakeLoggingVolumeDriver

    def extend_volume(self, volume, new_size):
        pass

    def copy_image_to_volume(self, context, volume, image_service, image_id, disable_sparse=False):
        pass

    def copy_volume_to_image(self, context, volume, image_service, image_meta):
        formats = {'disk_format': 'raw', 'container_format': 'bare'}
        image_service.update(context, image_meta['id'], formats, io.BytesIO(b'\0'))

    def retype(self, context, volume, new_type, diff, host):
        return True

    def manage_existing(self, volume, existing_ref):
        pass

    def manage_existing_get_size(self, volume, existing_ref):
        return 1

    def manage_existing_snapshot(self, snapshot, existing_ref):
        pass

    def manage_existing_snapshot_get_size(self, snapshot, existing_ref):
        return 1
    for operation in (extend_volume, copy_image_to_volume, copy_volume_to_image, retype, manage_existing,
                      manage_existing_get_size, manage_existing_snapshot, manage_existing_snapshot_get_size):
        setattr(FakeLoggingVolumeDriver, operation.__name__, operation)


def announce_readiness(project):
    """Create the file $OPENSTACK_DEV_READY once the service consumes requests from the bus: it has no port to check."""
    service = importlib.import_module(project + '.service').Service
    real = service.start

    @functools.wraps(real)
    def start(*args, **kwargs):
        real(*args, **kwargs)
        with open(READY, 'w'):
            pass
    service.start = start


def fix_cinder_notifications():
    """Default read_deleted to 'no', as later versions of Cinder do. Debian 12's python3-oslo.messaging (14.0.3) strips
    read_deleted from the context of a notification. Cinder 21.3.1 refuses None, so with notifications on, every
    creation of a volume would fail."""
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
        fix_cinder_notifications()
    if name == 'cinder.cmd.volume':
        complete_fake_volume_driver()
    if KNOBS:
        add_knobs(name)
    if READY and project in ('nova', 'cinder'):
        announce_readiness(project)
    sys.exit(module.main())


if __name__ == '__main__':
    main()
