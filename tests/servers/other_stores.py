"""Google's and Azure's object stores, as servers of this machine. Their buckets are in memory."""

import shutil
import sys
from pathlib import Path

from tests.servers.http_process import HttpProcess

AZURITE = shutil.which("azurite-blob")
NO_AZURITE = "no azurite on this machine: npm install --global azurite"
# The account that Azurite documents for everybody.
ACCOUNT, KEY = "devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class GoogleStore(HttpProcess):
    """`variables` are the environment that gcsfs reads."""

    def __init__(self) -> None:
        super().__init__()
        # Without hierarchical buckets, whose client looks for credentials of Google on the network.
        self.variables = {
            "STORAGE_EMULATOR_HOST": self.url,
            "GOOGLE_CLOUD_PROJECT": "tests",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("gcp-storage-emulator")), "start", "--host", "127.0.0.1"]
        self.run([*command, "--port", str(self.port), "--in-memory"], "/storage/v1/b?project=tests")


class AzureStore(HttpProcess):
    """`variables` are the environment that adlfs reads."""

    def __init__(self) -> None:
        super().__init__()
        parts = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": ACCOUNT,
            "AccountKey": KEY,
            "BlobEndpoint": f"{self.url}/{ACCOUNT}",
        }
        self.variables = {"AZURE_STORAGE_CONNECTION_STRING": ";".join(f"{name}={value}" for name, value in parts.items())}

    def start(self) -> None:
        assert AZURITE, NO_AZURITE
        options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--silent"]
        self.run([AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(self.port), *options], "/")
