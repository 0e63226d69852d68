// The options of fma-server, from the command line, the environment and a file.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "server/service/door_options.h"
#include "server/service/limits.h"
#include "server/sessions/session_types.h"
#include "server/tracing/tracing_options.h"

namespace fmaserver {

struct Flags {
  std::vector<std::string> models;       ///< [NAME=]DIR; the first is the default
  std::vector<std::string> model_names;  ///< of the first: its name, then its aliases
  std::string device = "auto";
  int threads = 0;
  std::string cache_dtype = "f32";
  std::string parked_dtype = "as-is";
  std::string archive_dtype = "as-is";  ///< kernels::CacheType, or the cache's
  std::string weights = "as-is";        ///< engine::WeightType
  engine::EngineOptions engine;
  bool no_archive = false;  ///< as if engine.archive.bytes were 0
  sessions::SessionOptions sessions;
  service::DoorOptions door;
  std::string openai;  ///< where the OpenAI door listens; empty: nowhere
  std::string http;    ///< HOST:PORT of probes and metrics; empty: none
  std::string metrics_names = "fma";
  std::string tokens;        ///< file of bearer tokens; empty: everybody may call
  std::string admin_tokens;  ///< the same of administrators; empty: there are none
  service::RequestLimits limits;
  std::string role = "any";  ///< service::Role, for limits.share
  double drain_seconds = 30;
  std::string log_level = "info";
  std::string log_format = "text";
  bool log_prompts = false;
  tracing::TracingOptions tracing = tracing::FromStandardEnvironment();
  bool print_config = false;
};

/// Declares the options on `app`, whose parsing fills `flags`. An option's name in the environment
/// (FMA_MAX_QUEUE) and in the file (max-queue) follows from its name on the command line.
void AddFlags(CLI::App& app, Flags& flags);

}  // namespace fmaserver
