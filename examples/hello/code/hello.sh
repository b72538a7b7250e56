#!/bin/sh
# Leaves one checkpoint and one file, and tells its progress.
set -eu
echo "hello from rank $RANK of $WORLD_SIZE, seed $ASSAY_SEED"
echo '{"step":1,"loss":0.5}' >> "$ASSAY_METRICS"
mkdir "$ASSAY_CHECKPOINT_DIR/.tmp-step-1"
echo "half of the work" > "$ASSAY_CHECKPOINT_DIR/.tmp-step-1/state"
mv "$ASSAY_CHECKPOINT_DIR/.tmp-step-1" "$ASSAY_CHECKPOINT_DIR/step-1"
echo "seed $ASSAY_SEED" > "$ASSAY_OUTPUT_DIR/hello.txt"
