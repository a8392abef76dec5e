// Everything of training: step rules, schedules, data, the loop, checkpoints.
#pragma once

#include <heed/optim/catalogue.h>
#include <heed/optim/checkpoint.h>
#include <heed/optim/data.h>
#include <heed/optim/rules/adam.h>
#include <heed/optim/rules/sgd.h>
#include <heed/optim/schedule.h>
#include <heed/optim/statistics.h>
#include <heed/optim/tasks.h>
#include <heed/optim/trainer.h>
