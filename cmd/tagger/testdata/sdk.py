"""What a program does with openstacksdk: servers and snapshots, their metadata, and a refusal."""
import openstack

cloud = openstack.connect()


def text(metadata):
    return ' '.join('%s=%s' % item for item in sorted(metadata.items()))


image = cloud.compute.find_image('cirros')
flavor = cloud.compute.find_flavor('m1.nano')
server = cloud.compute.create_server(name='web-1', image_id=image.id, flavor_id=flavor.id, networks='none', metadata={'env': 'dev'})
server = cloud.compute.wait_for_server(server, interval=1, wait=60)
print('server', server.status, text(server.metadata))
cloud.compute.set_server_metadata(server, **{'owner': 'alice', 'cost-center': 'CC-17'})
server = cloud.compute.get_server(server.id)
print('set', text(server.metadata))
cloud.compute.delete_server_metadata(server, ['env'])
print('unset', text(cloud.compute.get_server(server.id).metadata))
cloud.compute.stop_server(server)
print(cloud.compute.wait_for_server(server, status='SHUTOFF', interval=1, wait=60).status)
cloud.compute.start_server(server)
print(cloud.compute.wait_for_server(server, interval=1, wait=60).status)
cloud.compute.lock_server(server)
try:
    cloud.compute.set_server_metadata(server, env='prod')
except openstack.exceptions.ConflictException as e:
    print('locked:', e.status_code)
cloud.compute.unlock_server(server)
print('listed', ' '.join(s.name for s in cloud.compute.servers()))
cloud.compute.delete_server(server)
cloud.compute.wait_for_delete(server, interval=1, wait=60)
print('deleted')

volume = cloud.block_storage.create_volume(name='data', size=1)
cloud.block_storage.wait_for_status(volume, status='available', failures=['error'], interval=1, wait=60)
snapshot = cloud.block_storage.create_snapshot(name='nightly', volume_id=volume.id, metadata={'env': 'dev'})
snapshot = cloud.block_storage.wait_for_status(snapshot, status='available', failures=['error'], interval=1, wait=60)
print('snapshot', snapshot.status, text(snapshot.metadata))
cloud.block_storage.set_snapshot_metadata(snapshot, owner='alice')
snapshot = cloud.block_storage.get_snapshot(snapshot.id)
print('set', text(snapshot.metadata))
cloud.block_storage.delete_snapshot_metadata(snapshot, ['env'])
print('unset', text(cloud.block_storage.get_snapshot(snapshot.id).metadata))
print('listed', ' '.join(s.name for s in cloud.block_storage.snapshots()))
cloud.block_storage.delete_snapshot(snapshot)
cloud.block_storage.wait_for_delete(snapshot, interval=1, wait=60)
cloud.block_storage.delete_volume(volume)
cloud.block_storage.wait_for_delete(volume, interval=1, wait=60)
print('deleted')
