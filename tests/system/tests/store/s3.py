#!/usr/bin/env python3
"""A private bucket with the files of a directory, in moto's S3 server, which checks signatures from
then on. Says the bucket's URL, the credentials of one who may read and write it, and "ready"; ends with its
standard input."""

import json
import os
import sys
from pathlib import Path

# So many requests are let in unsigned; then signatures and policies count. Set at the end.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "1000000"
import boto3
from moto import settings
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
_, port = server.get_host_and_port()
url = f"http://127.0.0.1:{port}"
region = "eu-central-1"
known = {"endpoint_url": url, "region_name": region, "aws_access_key_id": "a", "aws_secret_access_key": "b"}
iam = boto3.client("iam", **known)
iam.create_user(UserName="robot")
allowed = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "*"}
policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
iam.put_user_policy(UserName="robot", PolicyName="read", PolicyDocument=policy)
key = iam.create_access_key(UserName="robot")["AccessKey"]
s3 = boto3.client("s3", **known)
s3.create_bucket(Bucket="fleet", CreateBucketConfiguration={"LocationConstraint": region})
top = Path(sys.argv[1])
for file in top.rglob("*"):
    if file.is_file():
        s3.upload_file(str(file), "fleet", str(file.relative_to(top)))
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
print(f"{url}/fleet")
print(f"aws_access_key_id={key['AccessKeyId']}")
print(f"aws_secret_access_key={key['SecretAccessKey']}")
print("ready", flush=True)
sys.stdin.read()
