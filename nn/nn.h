// Everything of the layer stack.
#pragma once

#include <heed/engine/engine.h>
#include <heed/nn/attention/catalogue.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/conv.h>
#include <heed/nn/diagnose/diagnose.h>
#include <heed/nn/diagnose/robustness.h>
#include <heed/nn/hooks.h>
#include <heed/nn/init.h>
#include <heed/nn/init/catalogue.h>
#include <heed/nn/loss/catalogue.h>
#include <heed/nn/module.h>
#include <heed/nn/norm/catalogue.h>
#include <heed/nn/pool.h>
#include <heed/nn/position/catalogue.h>
#include <heed/nn/position/rope.h>
#include <heed/nn/quantized.h>
#include <heed/nn/recurrent.h>
#include <heed/nn/regularize/catalogue.h>
#include <heed/nn/transformer.h>
