"""Programs that measure. Libraries read these settings when they are imported: nothing is downloaded, no progress bars."""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
