// More than one process: what the ranks of a program say to each other, and training by several of them.
#pragma once

#include <heed/optim/distributed/batch_norm.h>
#include <heed/optim/distributed/communicator.h>
#include <heed/optim/distributed/data_parallel.h>
#include <heed/optim/distributed/environment.h>
#include <heed/optim/distributed/nccl.h>
#include <heed/optim/distributed/sequence_parallel.h>
#include <heed/optim/distributed/sharded.h>
#include <heed/optim/distributed/threads.h>
