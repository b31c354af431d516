"""The Lightning hook over a plan: `InitCallback` initializes a LightningModule before training.

`init_callback` is the callback itself; `history` recognizes weights that were trained or loaded, `batches`
takes a batch from the training data and `targets` their targets, `other_callbacks` knows what other callbacks
do at the same moment.
"""

from initsearch.callback.bases import CallbackBase as CallbackBase
from initsearch.callback.history import used_before as used_before
from initsearch.callback.init_callback import InitCallback as InitCallback
