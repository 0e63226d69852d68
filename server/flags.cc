#include "server/flags.h"

#include <algorithm>
#include <cctype>
#include <memory>
#include <optional>
#include <string>

#include "base/address.h"
#include "base/environment.h"
#include "command_line/numbers.h"
#include "kernels/device.h"
#include "server/config_file.h"
#include "server/sessions/shelf/redis/store_options.h"
#include "server/tracing/tracing_options.h"

namespace fmaserver {
namespace {

std::string WhyNoAddress(const std::string& text) {
  return std::string(ParseHostPort("address", text).status().message());
}

/// Unix sockets will do too.
std::string WhyNoListen(const std::string& text) {
  return text.starts_with("unix:") || text.starts_with("unix-abstract:") ? "" : WhyNoAddress(text);
}

/// Nothing will do too.
std::string WhyNoOther(const std::string& text) { return text.empty() ? "" : WhyNoListen(text); }

/// Nothing will do too.
std::string WhyNoEndpoint(const std::string& text) {
  if (text.empty()) return "";
  return std::string(tracing::ParseEndpoint("URL", text).status().message());
}

/// Nothing will do too.
std::string WhyNoStore(const std::string& text) {
  if (text.empty()) return "";
  return std::string(sessions::ParseStoreUrl("URL", text).status().message());
}

constexpr char kFooter[] = R"(
Every option can also come from the environment, under the name shown with it, or from the file
that --config names, as lines like  slots = 16  under the option's long name. The command line wins
over the environment, which wins over the file; a variable that is set to nothing counts as unset.
--print-config writes such a file. Options under "Tracing" may also come from OpenTelemetry's own
variables (OTEL_EXPORTER_OTLP_ENDPOINT, ...), which everything else wins over.

SIGTERM or SIGINT drains: health turns NOT_SERVING, new requests are refused with UNAVAILABLE and
running ones get --drain-seconds; then the server exits with 0. A second signal ends it at once,
and so does the first while it still loads.
SIGHUP reads the token files again; SIGUSR1 logs more, SIGUSR2 less.

Example:
  fma-server --model models/tiny --listen 0.0.0.0:50051 --slots 16
  fma-server --model chat=models/books --model small=models/tiny)";

void AddModelFlags(CLI::App& app, Flags& flags) {
  app.add_option(
         "--model", flags.models,
         "Checkpoint folder: config.json, weights, tokenizer; may be repeated, the first is "
         "the default. NAME: what requests call it; without it, the folder's name")
      ->required()
      ->allow_extra_args(false)
      ->type_name("[NAME=]DIR")
      ->group("Model");
  app.add_option("--model-name", flags.model_names,
                 "What requests call the first model; may be repeated: the first name is reported, "
                 "all are accepted. A NAME of --model comes before them")
      ->allow_extra_args(false)
      ->type_name("NAME")
      ->group("Model");
  app.add_option("--device", flags.device,
                 "Where to compute; auto: cuda:0 if there is one, else cpu")
      ->check([](const std::string& name) {
        return std::string(kernels::CheckDeviceName(name).message());
      })
      ->type_name("auto|cpu|cuda:N")
      ->group("Model");
  AddNumber(app, "--threads", flags.threads, "Threads of the cpu device; 0: one per core")
      ->check(CLI::Range(0, 1024))
      ->group("Model");
  app.add_option(
         "--cache-dtype", flags.cache_dtype,
         "Elements of the keys and values that are kept: bf16 halves them and is less exact, int8 "
         "halves them again")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}))
      ->group("Model");
  app.add_option("--parked-dtype", flags.parked_dtype,
                 "The same of sessions between their turns, in memory, on disk and in exports: "
                 "bf16 or int8, unless slots are smaller; as-is: as in slots")
      ->check(CLI::IsMember({"as-is", "bf16", "int8"}))
      ->group("Model");
  app.add_option("--weights", flags.weights,
                 "The large weights, rounded when they are loaded: int8 and int4 take a half and a "
                 "quarter of bf16 and are less exact; as-is: as the checkpoint has them")
      ->check(CLI::IsMember({"as-is", "bf16", "int8", "int4"}))
      ->group("Model");
}

void AddArchiveFlags(CLI::App& app, Flags& flags) {
  AddBytes(app, "--archive-bytes", flags.engine.archive.bytes,
           "Bytes for all archives of one model that opens units of its past, at most; 0: as with "
           "--no-archive")
      ->group("Archives");
  app.add_option("--archive-dir", flags.engine.archive.dir,
                 "Where the tokens of archives lie, for more of them than memory holds; without it "
                 "in memory")
      ->type_name("DIR")
      ->group("Archives");
  AddBytes(app, "--device-unit-cache", flags.engine.archive.unit_cache_bytes,
           "Bytes of a GPU's memory for copies of the units that one model opened last, which else "
           "come over the bus; no more than its archives take is used")
      ->group("Archives");
  app.add_option("--archive-dtype", flags.archive_dtype,
                 "Elements of the keys and values in archives, no larger than those of "
                 "--cache-dtype; as-is: the same")
      ->check(CLI::IsMember({"as-is", "bf16", "int8"}))
      ->group("Archives");
  app.add_flag("--no-archive", flags.no_archive,
               "Keep no archives: every model is served in constant memory")
      ->group("Archives");
}

void AddEngineFlags(CLI::App& app, engine::EngineOptions& engine) {
  AddNumber(app, "--slots", engine.num_slots, "Sequences that run at once")
      ->check(CLI::Range(1, 1 << 20))
      ->group("Engine");
  AddNumber(app, "--max-queue", engine.max_queue, "Requests that may wait for a slot")
      ->check(CLI::Range(0, 1 << 20))
      ->group("Engine");
  AddNumber(app, "--step-tokens", engine.step_tokens, "Prompt tokens of one step, at most")
      ->check(CLI::Range(1, 1 << 20))
      ->group("Engine");
  AddBytes(app, "--prefix-cache-memory", engine.prefix_cache_bytes,
           "Bytes for states of prompts, found again by prompts that begin alike; 0: none")
      ->group("Engine");
  AddBytes(
      app, "--encoder-memory", engine.encoder_bytes,
      "Bytes for the texts that an encoder reads at the same time: they limit how long one may "
      "be")
      ->group("Engine");
  AddNumber(app, "--max-stall-seconds", engine.max_stall_seconds,
            "How long a reader may be behind before its request ends")
      ->check(CLI::Range(0.001, 1e9))
      ->group("Engine");
}

void AddStoreFlags(CLI::App& app, sessions::StoreOptions& store) {
  app.add_option("--session-store", store.url,
                 "A Redis or Valkey in which servers share their sessions, instead of "
                 "--session-dir; rediss:// with TLS")
      ->check(WhyNoStore)
      ->type_name("redis://HOST:PORT[/DATABASE]")
      ->group("Sessions");
  const auto add_file = [&app](const char* name, std::string& file, const char* help) {
    app.add_option(name, file, help)->type_name("FILE")->group("Sessions");
  };
  add_file("--session-store-login", store.login,
           "One line, the user and the password for the store, with a space between them");
  add_file("--session-store-ca", store.ca,
           "Authorities, PEM, that a rediss:// store's certificate may be of; without it the "
           "system's");
  add_file("--session-store-cert", store.cert,
           "The server's own certificate for the store and its chain, PEM");
  add_file("--session-store-key", store.key, "Private key of that certificate, PEM");
  AddNumber(app, "--session-store-timeout", store.timeout_seconds,
            "Seconds after which the store counts as not answering")
      ->check(CLI::Range(0.01, 600.0))
      ->group("Sessions");
  AddNumber(app, "--session-store-replicas", store.replicas,
            "How many replicas of the store must have a save before it counts as durable; each "
            "save waits for them up to a second")
      ->check(CLI::Range(0, 100))
      ->group("Sessions");
}

void AddSessionFlags(CLI::App& app, sessions::SessionOptions& sessions) {
  app.add_option("--session-dir", sessions.dir,
                 "Where sessions are saved; without it they end with the server")
      ->type_name("DIR")
      ->group("Sessions");
  AddStoreFlags(app, sessions.store);
  AddBytes(app, "--session-memory", sessions.memory_bytes,
           "Bytes for sessions that wait for their next turn")
      ->group("Sessions");
  AddNumber(app, "--session-ttl", sessions.ttl_seconds,
            "Seconds without use after which a session expires; 0: never")
      ->check(CLI::Range(0.0, sessions::kMaxTtlSeconds))
      ->group("Sessions");
  AddNumber(app, "--rewind-points", sessions.rewind_points,
            "States kept of a session besides the newest")
      ->check(CLI::Range(int64_t{0}, sessions::kMaxRewindPoints))
      ->group("Sessions");
  AddNumber(app, "--session-log-tokens", sessions.log_tokens, "Last tokens kept of a session")
      ->check(CLI::Range(int64_t{1}, sessions::kMaxLogTokens))
      ->group("Sessions");
  AddNumber(app, "--max-sessions", sessions.max_sessions, "Sessions that may be kept")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->group("Sessions");
}

void AddServerFlags(CLI::App& app, Flags& flags) {
  app.add_option("--listen", flags.door.listen, "Address; port 0 takes a free one")
      ->check(WhyNoListen)
      ->type_name("HOST:PORT")
      ->group("Server");
  app.add_option("--openai", flags.openai,
                 "Address of the OpenAI API over HTTP, with the same TLS, tokens and limits; "
                 "without it: none")
      ->check(WhyNoOther)
      ->type_name("HOST:PORT")
      ->group("Server");
  app.add_option("--http", flags.http,
                 "Address of /metrics, /livez, /readyz, /health and /version; without it: none")
      ->check(WhyNoOther)
      ->type_name("HOST:PORT")
      ->group("Server");
  app.add_option("--metrics-names", flags.metrics_names,
                 "vllm: six metrics also under the names that they have in vLLM")
      ->check(CLI::IsMember({"fma", "vllm"}))
      ->group("Server");
  app.add_option("--role", flags.role,
                 "What this server does of servers that share sessions. prefill: reads prompts, "
                 "also for others; decode: generates")
      ->check(CLI::IsMember({"any", "prefill", "decode"}))
      ->group("Server");
  AddNumber(app, "--role-tokens", flags.limits.share.tokens,
            "Tokens of the other role's work that a call may ask for: to generate on a server for "
            "prefill, to read on one for decode")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->group("Server");
  AddNumber(app, "--drain-seconds", flags.drain_seconds, "Grace for running requests at the end")
      ->check(CLI::Range(0.0, 86400.0))
      ->group("Server");
}

void AddSecurityFlags(CLI::App& app, Flags& flags) {
  const auto add_file = [&app](const char* name, std::string& file, const char* help) {
    app.add_option(name, file, help)->type_name("FILE")->group("Security");
  };
  add_file("--tls-cert", flags.door.tls.cert, "The server's certificate and its chain, PEM");
  add_file("--tls-key", flags.door.tls.key, "Private key of the certificate, PEM");
  add_file("--tls-client-ca", flags.door.tls.client_ca,
           "Authorities, PEM: clients then need a certificate of one of them");
  add_file("--tokens", flags.tokens, "Tenants and the SHA-256 of their bearer tokens");
  add_file("--admin-token-file", flags.admin_tokens,
           "The same of administrators, who may load and unload models; without it nobody may");
}

void AddLimitFlags(CLI::App& app, Flags& flags) {
  AddNumber(app, "--max-prompt-tokens", flags.limits.prompt_tokens,
            "Tokens of a prompt, at most; 0: what the model takes")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->group("Limits");
  AddBytes(app, "--max-text-bytes", flags.limits.text_bytes,
           "Bytes of a text to encode, at most; 0: what a request may hold")
      ->group("Limits");
  AddNumber(app, "--max-stop-strings", flags.limits.stop_strings,
            "Stop strings of a request, at most")
      ->check(CLI::Range(0, static_cast<int>(engine::kMaxStops)))
      ->group("Limits");
  AddNumber(app, "--max-samples", flags.limits.samples, "Samples (n) of a request, at most")
      ->check(CLI::Range(1, engine::kMaxSamples))
      ->group("Limits");
  AddBytes(app, "--max-request-bytes", flags.limits.request_bytes,
           "Bytes of a request, at most, also of what compressed ones hold")
      ->check(CLI::Range(1 << 10, 1 << 30))
      ->group("Limits");
  AddNumber(app, "--max-streams", flags.door.max_streams,
            "Calls at once of one connection; more wait")
      ->check(CLI::Range(1, 1 << 20))
      ->group("Limits");
}

void AddConnectionFlags(CLI::App& app, service::DoorOptions& door) {
  constexpr int kMost = 1 << 20;
  constexpr double kLongest = 1e6;
  AddNumber(app, "--max-connections", door.max_connections,
            "Connections at once, at most; 0: what the limit of open files allows, up to 4096")
      ->check(CLI::Range(0, kMost))
      ->group("Connections");
  AddNumber(app, "--max-connections-per-address", door.max_connections_per_address,
            "The same of one IPv4 address or IPv6 network (/64); 0: half of them")
      ->check(CLI::Range(0, kMost))
      ->group("Connections");
  AddNumber(app, "--max-connection-idle", door.max_connection_idle_seconds,
            "Seconds without a call after which a connection ends; 0: never")
      ->check(CLI::Range(0.0, kLongest))
      ->group("Connections");
  AddNumber(app, "--max-connection-age", door.max_connection_age_seconds,
            "Seconds after which a connection takes no new calls, so that its client connects "
            "anew; 0: never")
      ->check(CLI::Range(0.0, kLongest))
      ->group("Connections");
  AddNumber(app, "--max-connection-age-grace", door.max_connection_age_grace_seconds,
            "Seconds that its running calls then have; 0: as long as they take")
      ->check(CLI::Range(0.0, kLongest))
      ->group("Connections");
}

void AddLogFlags(CLI::App& app, Flags& flags) {
  app.add_option("--log-level", flags.log_level, "What to log")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error", "off"}))
      ->group("Log");
  app.add_option("--log-format", flags.log_format, "Text for people, JSON lines for programs")
      ->check(CLI::IsMember({"text", "json"}))
      ->group("Log");
  app.add_flag("--log-prompts", flags.log_prompts, "Log the text of prompts")->group("Log");
}

void AddTracingFlags(CLI::App& app, tracing::TracingOptions& tracing) {
  app.add_option("--otlp-endpoint", tracing.endpoint,
                 "A collector that gets traces of calls, by OTLP over gRPC; https:// with TLS; "
                 "without it: none")
      ->check(WhyNoEndpoint)
      ->type_name("http://HOST[:PORT]")
      ->group("Tracing");
  app.add_option("--otlp-ca", tracing.ca,
                 "Authorities, PEM, that an https:// collector's certificate may be of; without it "
                 "the system's")
      ->type_name("FILE")
      ->group("Tracing");
  AddNumber(app, "--trace-ratio", tracing.ratio,
            "The part of the calls that is traced, of those whose caller's traceparent does not "
            "say; without it all")
      ->check(CLI::Range(0.0, 1.0))
      ->group("Tracing");
}

std::string EnvironmentName(const std::string& flag) {
  std::string name = "FMA_" + flag;
  std::ranges::transform(name, name.begin(), [](unsigned char c) {
    return c == '-' ? '_' : static_cast<char>(std::toupper(c));
  });
  return name;
}

void AddConfigFlags(CLI::App& app, Flags& flags) {
  // CLI11 looks at the environment only after it has read the file.
  const std::optional<std::string> file = FromEnvironment("FMA_CONFIG");
  app.set_config("--config", file.value_or(""), "File of options; see below",
                 /*config_required=*/file.has_value())
      ->type_name("FILE")
      ->group("Configuration");
  app.add_flag("--print-config", flags.print_config,
               "Print what holds, in the format of --config, and exit")
      ->configurable(false)
      ->group("Configuration");
  app.config_formatter(std::make_shared<ConfigFile>(app));
  app.allow_config_extras(CLI::config_extras_mode::error);
}

}  // namespace

void AddFlags(CLI::App& app, Flags& flags) {
  app.description("fma-server - serves a Fast Multipole Attention transformer over gRPC");
  app.set_version_flag("--version", "fma-server " FMA_VERSION, "Print the version and exit");
  app.option_defaults()->always_capture_default();
  app.footer(kFooter);
  AddModelFlags(app, flags);
  AddEngineFlags(app, flags.engine);
  AddArchiveFlags(app, flags);
  AddSessionFlags(app, flags.sessions);
  AddServerFlags(app, flags);
  AddSecurityFlags(app, flags);
  AddLimitFlags(app, flags);
  AddConnectionFlags(app, flags.door);
  AddLogFlags(app, flags);
  AddTracingFlags(app, flags.tracing);
  // The one place that gives options their names in the environment.
  for (CLI::Option* option : app.get_options()) {
    if (option->get_configurable()) option->envname(EnvironmentName(option->get_lnames().front()));
  }
  AddConfigFlags(app, flags);
}

}  // namespace fmaserver
