#!/usr/bin/env python3
"""What tagger reconcile does, by openstacksdk: list all servers, and give those without an owner one. Prints the times.

    tagger simcloud --build-time 0s > env &       # and: . ./env
    python3 bench/openstacksdk.py fill 10000      # makes servers
    python3 bench/openstacksdk.py list            # as tagger reconcile --scope own --kind server --settled 0s
    python3 bench/openstacksdk.py write 10        # as tagger reconcile --apply; with 10 threads, which it does not have itself

Debian: python3-openstacksdk.
"""

import concurrent.futures
import resource
import sys
import time

import openstack


def main():
    connection = openstack.connect()
    what, number = sys.argv[1], int((sys.argv + ["1"])[2])
    begin = time.monotonic()
    if what == "fill":
        image, flavor = next(connection.image.images()).id, next(connection.compute.flavors()).id
        endpoint = connection.compute.get_endpoint()

        def make(i):
            server = {"name": f"server-{i}", "imageRef": image, "flavorRef": flavor, "networks": "none"}
            connection.session.post(
                endpoint + "/servers", json={"server": server}, microversion="2.37",
                endpoint_filter={"service_type": "compute"},
            ).raise_for_status()

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(make, range(number)))
        done = number
    elif what == "list":
        done = sum(1 for s in connection.compute.servers(limit=200) if "owner" not in s.metadata)
    else:
        lacking = [s for s in connection.compute.servers(limit=200) if "owner" not in s.metadata]

        def write(server):
            connection.compute.set_server_metadata(server, owner="alice")

        with concurrent.futures.ThreadPoolExecutor(number) as pool:
            list(pool.map(write, lacking))
        done = len(lacking)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"{what}: {done} servers in {time.monotonic() - begin:.1f} s, CPU {used.ru_utime + used.ru_stime:.1f} s, "
        f"{used.ru_maxrss / 1024:.0f} MiB"
    )


main()
