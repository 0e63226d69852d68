#include "server/flags.h"

#include "kernels/device.h"

namespace fmaserver {
namespace {

constexpr char kFooter[] = R"(
Every option can also come from the environment under the name shown with it.

SIGTERM or SIGINT drains: health turns NOT_SERVING, new requests are refused with UNAVAILABLE and
running ones get --drain-seconds; then the server exits with 0. A second signal ends it at once.

Example:
  fma-server --model models/tiny --listen 0.0.0.0:50051 --slots 16)";

void AddModelFlags(CLI::App& app, Flags& flags) {
  app.add_option("--model", flags.model, "Checkpoint folder: config.json, weights, tokenizer")
      ->required()
      ->envname("FMA_MODEL")
      ->type_name("DIR")
      ->group("Model");
  app.add_option("--device", flags.device,
                 "Where to compute; auto: cuda:0 if there is one, else cpu")
      ->envname("FMA_DEVICE")
      ->check([](const std::string& name) { return std::string(CheckDeviceName(name).message()); })
      ->type_name("auto|cpu|cuda:N")
      ->group("Model");
  app.add_option("--threads", flags.threads, "Threads of the cpu device; 0: one per core")
      ->envname("FMA_THREADS")
      ->check(CLI::Range(0, 1024))
      ->group("Model");
}

void AddEngineFlags(CLI::App& app, EngineOptions& engine) {
  app.add_option("--slots", engine.num_slots, "Sequences that run at once")
      ->envname("FMA_SLOTS")
      ->check(CLI::Range(1, 1 << 20))
      ->group("Engine");
  app.add_option("--max-queue", engine.max_queue, "Requests that may wait for a slot")
      ->envname("FMA_MAX_QUEUE")
      ->check(CLI::Range(0, 1 << 20))
      ->group("Engine");
  app.add_option("--step-tokens", engine.step_tokens, "Prompt tokens of one step, at most")
      ->envname("FMA_STEP_TOKENS")
      ->check(CLI::Range(1, 1 << 20))
      ->group("Engine");
  app.add_option("--prefix-cache-memory", engine.prefix_cache_bytes,
                 "Bytes for states of prompts, found again by prompts that begin alike; 0: none")
      ->envname("FMA_PREFIX_CACHE_MEMORY")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->group("Engine");
  app.add_option("--max-stall-seconds", engine.max_stall_seconds,
                 "How long a reader may be behind before its request ends")
      ->envname("FMA_MAX_STALL_SECONDS")
      ->check(CLI::Range(0.001, 1e9))
      ->group("Engine");
}

void AddSessionFlags(CLI::App& app, SessionOptions& sessions) {
  app.add_option("--session-dir", sessions.dir,
                 "Where sessions are saved; without it they end with the server")
      ->envname("FMA_SESSION_DIR")
      ->type_name("DIR")
      ->group("Sessions");
  app.add_option("--session-memory", sessions.memory_bytes,
                 "Bytes for sessions that wait for their next turn")
      ->envname("FMA_SESSION_MEMORY")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->group("Sessions");
  app.add_option("--session-ttl", sessions.ttl_seconds,
                 "Seconds without use after which a session expires; 0: never")
      ->envname("FMA_SESSION_TTL")
      ->check(CLI::Range(0.0, kMaxTtlSeconds))
      ->group("Sessions");
  app.add_option("--rewind-points", sessions.rewind_points,
                 "States kept of a session besides the newest")
      ->envname("FMA_REWIND_POINTS")
      ->check(CLI::Range(int64_t{0}, kMaxRewindPoints))
      ->group("Sessions");
  app.add_option("--session-log-tokens", sessions.log_tokens, "Last tokens kept of a session")
      ->envname("FMA_SESSION_LOG_TOKENS")
      ->check(CLI::Range(int64_t{1}, kMaxLogTokens))
      ->group("Sessions");
  app.add_option("--max-sessions", sessions.max_sessions, "Sessions that may be kept")
      ->envname("FMA_MAX_SESSIONS")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->group("Sessions");
}

void AddServerFlags(CLI::App& app, Flags& flags) {
  app.add_option("--listen", flags.rpc.listen, "Address; port 0 takes a free one")
      ->envname("FMA_LISTEN")
      ->type_name("HOST:PORT")
      ->group("Server");
  app.add_option("--http", flags.http,
                 "Address of /metrics, /livez, /readyz and /version; without it there is none")
      ->envname("FMA_HTTP")
      ->type_name("HOST:PORT")
      ->group("Server");
  app.add_option("--drain-seconds", flags.drain_seconds, "Grace for running requests at the end")
      ->envname("FMA_DRAIN_SECONDS")
      ->check(CLI::Range(0.0, 86400.0))
      ->group("Server");
  app.add_option("--log-level", flags.log_level, "What to log")
      ->envname("FMA_LOG_LEVEL")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error", "off"}))
      ->group("Server");
}

}  // namespace

void AddFlags(CLI::App& app, Flags& flags) {
  app.option_defaults()->always_capture_default();
  app.footer(kFooter);
  AddModelFlags(app, flags);
  AddEngineFlags(app, flags.engine);
  AddSessionFlags(app, flags.sessions);
  AddServerFlags(app, flags);
}

}  // namespace fmaserver
