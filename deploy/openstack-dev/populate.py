#!/usr/bin/python3
"""Fill a new OpenStack: populate.py identity|resources STATE KEYSTONE_URL PASSWORD AMQP_URL

identity: projects, users, the service catalog and an application credential; writes openrc, openrc-admin,
openrc-appcred and creds.json into STATE. resources: two flavors and an image; adds their ids to creds.json. Both can
be run again.
"""
import json
import os
import sys
import urllib.parse

import openstack

REGION = 'RegionOne'
step, STATE, KEYSTONE, PASSWORD, AMQP = sys.argv[1:]
HOST = urllib.parse.urlsplit(KEYSTONE).hostname

CATALOG = (
    ('compute', 'nova', 'http://%s:8774/v2.1'),
    ('compute_legacy', 'nova_legacy', 'http://%s:8774/v2/$(project_id)s'),
    ('volumev3', 'cinderv3', 'http://%s:8776/v3/$(project_id)s'),
    ('block-storage', 'cinder', 'http://%s:8776/v3/$(project_id)s'),
    ('image', 'glance', 'http://%s:9292'),
    ('network', 'neutron', 'http://%s:9696'),
    ('placement', 'placement', 'http://%s:8778'),
)
# user, project, roles. All users have the same password.
ACCOUNTS = (
    ('openstack', 'service', ('admin', 'service')),   # the services' own user
    ('admin', 'demo', ('admin',)),
    ('tagger', 'demo', ('member',)),
    ('reader', 'demo', ('reader',)),
    ('stranger', 'other', ('member',)),
)
FLAVORS = (('flavor', 'm1.nano', '42', 64), ('flavor2', 'm1.micro', '84', 128))   # two, so that servers can be resized


def connect(user, project):
    return openstack.connect(auth_url=KEYSTONE, username=user, password=PASSWORD, project_name=project,
                             user_domain_id='default', project_domain_id='default', region_name=REGION)


def write(name, text):
    """Write a file of STATE atomically."""
    path = os.path.join(STATE, name)
    with open(path + '.new', 'w') as file:
        file.write(text)
    os.replace(path + '.new', path)


def write_credentials(**changed):
    path = os.path.join(STATE, 'creds.json')
    credentials = {}
    if os.path.exists(path):
        with open(path) as file:
            credentials = json.load(file)
    write('creds.json', json.dumps(dict(credentials, **changed), indent=1) + '\n')


def write_openrc(name, **variables):
    # Compute 2.37 is the first version that can create servers without a network, as --nic none of the openstack
    # command requests.
    variables = dict(OS_AUTH_URL=KEYSTONE, OS_IDENTITY_API_VERSION='3', OS_COMPUTE_API_VERSION='2.37',
                     OS_REGION_NAME=REGION, **variables, TAGGER_AMQP_URL=AMQP)
    write(name, ''.join('export %s=%s\n' % pair for pair in variables.items()))


def write_user_openrc(name, user, project):
    write_openrc(name, OS_USERNAME=user, OS_PASSWORD=PASSWORD, OS_PROJECT_NAME=project, OS_USER_DOMAIN_NAME='Default',
                 OS_PROJECT_DOMAIN_NAME='Default')


def make_accounts(identity):
    projects, users = {}, {}
    for user, project, roles in ACCOUNTS:
        projects[project] = identity.find_project(project) or identity.create_project(name=project, domain_id='default')
        users[user] = identity.find_user(user) or identity.create_user(name=user, domain_id='default',
                                                                       password=PASSWORD)
        for name in roles:
            role = identity.find_role(name) or identity.create_role(name=name)
            identity.assign_project_role_to_user(projects[project], users[user], role)
    return projects, users


def make_catalog(identity):
    services = {service.type: service for service in identity.services()}
    endpoints = {(endpoint.service_id, endpoint.interface) for endpoint in identity.endpoints()}
    for kind, name, url in CATALOG:
        service = services.get(kind) or identity.create_service(type=kind, name=name)
        for interface in ('public', 'internal', 'admin'):
            if (service.id, interface) not in endpoints:
                identity.create_endpoint(service_id=service.id, interface=interface, region_id=REGION, url=url % HOST)


def make_application_credential(user):
    # Its secret is shown only once, so an older one is useless.
    identity = connect('tagger', 'demo').identity
    old = identity.find_application_credential(user, 'tagger-app')
    if old:
        identity.delete_application_credential(user, old)
    return identity.create_application_credential(user, 'tagger-app', roles=[{'name': 'member'}],
                                                  description='what the tagging function logs in with')


def identity():
    admin = connect('admin', 'admin')
    projects, users = make_accounts(admin.identity)
    make_catalog(admin.identity)
    credential = make_application_credential(users['tagger'])
    write_credentials(auth_url=KEYSTONE, region=REGION, password=PASSWORD, demo_project_id=projects['demo'].id,
                      other_project_id=projects['other'].id, tagger_user_id=users['tagger'].id,
                      app_cred_id=credential.id, app_cred_secret=credential.secret, rabbit=AMQP)
    write_user_openrc('openrc', 'tagger', 'demo')
    write_user_openrc('openrc-admin', 'admin', 'admin')
    write_openrc('openrc-appcred', OS_AUTH_TYPE='v3applicationcredential', OS_APPLICATION_CREDENTIAL_ID=credential.id,
                 OS_APPLICATION_CREDENTIAL_SECRET=credential.secret)


def resources():
    admin = connect('admin', 'admin')
    ids = {}
    for key, name, flavor_id, ram in FLAVORS:
        # A member may not boot from an image onto a flavor without a disk.
        flavor = (admin.compute.find_flavor(name) or
                  admin.compute.create_flavor(name=name, id=flavor_id, ram=ram, vcpus=1, disk=1))
        ids[key] = flavor.id
    image = admin.image.find_image('tiny')
    if image is None or image.status != 'active':
        image = admin.image.create_image(name='tiny', disk_format='raw', container_format='bare', visibility='public',
                                         data=b'\0' * 1024)
    write_credentials(image=image.id, **ids)


{'identity': identity, 'resources': resources}[step]()
