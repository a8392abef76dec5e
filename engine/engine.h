// Everything of the engine: tensors, operations, autodiff.
#pragma once

#include <heed/engine/backward.h>
#include <heed/engine/custom.h>
#include <heed/engine/derivatives.h>
#include <heed/engine/error.h>
#include <heed/engine/explain.h>
#include <heed/engine/graph.h>
#include <heed/engine/hooks.h>
#include <heed/engine/isa.h>
#include <heed/engine/ops.h>
#include <heed/engine/parallel.h>
#include <heed/engine/profile.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>
