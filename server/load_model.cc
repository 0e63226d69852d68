#include "server/load_model.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "server/engine/engine.h"
#include "server/metrics/device_metrics.h"
#include "server/metrics/metrics.h"
#include "server/metrics/session_metrics.h"
#include "server/openai/openai_server.h"
#include "server/sessions/fingerprint.h"
#include "server/sessions/session_store.h"

namespace fmaserver {
namespace {

/// No tenant's name begins with a dot, so this lies beside their folders. Earlier releases, which
/// know one model only, leave it alone.
constexpr char kModelsFolder[] = ".models";

std::string Mebibytes(int64_t bytes) {
  return fmt::format("{:.2f} MiB", static_cast<double>(bytes) / (1 << 20));
}

engine::ModelOptions OptionsForModel(const Flags& flags, engine::WeightType weights) {
  return {.max_rows = engine::Engine::MaxRows(flags.engine),
          .cache_type = *kernels::CacheTypeNamed(flags.cache_dtype),     // CLI11 checked it
          .archive_type = kernels::CacheTypeNamed(flags.archive_dtype),  // as-is: none
          .weights = weights};
}

void LogArchives(const engine::Engine& engine) {
  const engine::ArchivePool* archives = engine.archives().get();
  if (archives == nullptr) return;
  const std::filesystem::path& dir = engine.options().archive.dir;
  spdlog::info("archives: {} for each 1000 tokens of a sequence, {} at most, {}",
               Mebibytes(archives->BytesPer1000Tokens()), Mebibytes(archives->budget_bytes()),
               dir.empty() ? "in memory" : "tokens in " + dir.string());
  if (archives->unit_cache_bytes() > 0) {
    spdlog::info("units that were opened last: {} of the device's memory",
                 Mebibytes(archives->unit_cache_bytes()));
  }
}

std::string WhereSaved(const sessions::SessionOptions& options) {
  if (!options.store.url.empty()) return "saved in " + options.store.url;
  return options.dir.empty() ? "none saved" : "saved in " + options.dir.string();
}

/// Of a decoder or an encoder.
template <class AnyModel>
void LogWeights(const models::ServedModel& served, const char* kind, const AnyModel& model) {
  const model::Tokenizer* tokenizer = served.runner().tokenizer().get();
  spdlog::info("{} {}: {} parameters in {}, tokenizer {}", kind, served.name(),
               model.num_parameters(), Mebibytes(model.weight_bytes()),
               tokenizer == nullptr ? "none" : tokenizer->Kind());
  spdlog::info("device {}", model.device());
}

void LogEncoder(const models::ServedModel& served) {
  const engine::EncoderEngine& engine = served.encoder();
  LogWeights(served, "encoder", engine.encoder());
  spdlog::info("texts of up to {} tokens, in {} at most", engine.MaxTokens(),
               Mebibytes(engine.options().encoder_bytes));
}

void LogModel(const models::ServedModel& served) {
  const engine::Engine& engine = served.engine();
  const engine::Model& model = engine.model();
  const int32_t slots = engine.options().num_slots;
  LogWeights(served, "model", model);
  spdlog::info("{} slots of {}: {} of sequence state, whatever the length", slots,
               Mebibytes(model.slot_bytes()), Mebibytes(slots * model.slot_bytes()));
  LogArchives(engine);
  const sessions::SessionOptions& options = served.sessions().options();
  spdlog::info("sessions: {} in memory at most, {}; states in {}, {} each",
               Mebibytes(options.memory_bytes), WhereSaved(options),
               NameOf(engine.parking().type()), Mebibytes(engine.parking().bytes()));
  if (!options.dir.empty()) {
    spdlog::info("{} sessions found", served.sessions().Stats().on_disk);
  }
}

engine::OnLoaded ReportTo(LoadProgress::Model& progress, const model::Checkpoint& checkpoint) {
  const auto report = [&progress, all = checkpoint.WeightBytes()](int64_t bytes) {
    progress.Set(fmt::format("{} of {} MiB of weights", bytes >> 20, all >> 20));
  };
  report(0);
  return report;
}

/// A checkpoint's, computed while its weights are packed; when nobody awaits it, it is given up.
class Fingerprint {
 public:
  explicit Fingerprint(const model::Checkpoint& checkpoint)
      : thread_([this, &checkpoint](const std::stop_token& stop) {
          digest_ = checkpoint.Fingerprint(stop);
        }) {}

  const std::string& Await() {
    thread_.join();
    return digest_;
  }

 private:
  std::string digest_;
  std::jthread thread_;
};

}  // namespace

ModelLoader::ModelLoader(const Flags& flags, std::string first,
                         std::shared_ptr<const access::Access> tenants,
                         metrics::Exposition& exposition)
    : flags_(flags),
      first_(std::move(first)),
      tenants_(std::move(tenants)),
      exposition_(exposition),
      devices_(flags.threads),
      budget_(ReadMachineShare().memory_bytes, BufferBytes(flags)),
      progress_([](const std::string& line) { spdlog::info("{}", line); }) {}

absl::StatusOr<std::shared_ptr<kernels::Backend>> ModelLoader::MakeBackend() {
  auto device = devices_.MakeBackend(flags_.device);
  if (!device.ok()) return device.status();
  if (!device->why.empty()) spdlog::info("no GPU: {}", device->why);
  return std::move(device->backend);
}

ModelMemory ModelLoader::MemoryOf(const model::Checkpoint& checkpoint,
                                  const kernels::Backend& backend) const {
  ModelMemory memory{.prefixes = flags_.engine.prefix_cache_bytes,
                     .sessions = flags_.sessions.memory_bytes};
  // The memory of a GPU is its own, and the device says when something does not fit.
  if (backend.MemoryInfo().has_value()) return memory;
  const model::ModelConfig& config = checkpoint.config();
  if (!config.attention.causal) {
    return {.weights = engine::LoadedBytes(checkpoint, weights_),
            .step = flags_.engine.encoder_bytes};
  }
  const kernels::SlotLayout layout =
      engine::Model::LayoutOf(config, OptionsForModel(flags_, weights_));
  memory.weights = engine::LoadedBytes(checkpoint, weights_);
  // Slots that no memory holds are the engine's to refuse; here they need not overflow.
  constexpr int64_t kMostSlotBytes = int64_t{1} << 60;
  memory.slots = std::min(layout.slot_bytes, kMostSlotBytes / flags_.engine.num_slots) *
                 flags_.engine.num_slots;
  memory.step = engine::Model::StepBytes(config, engine::Engine::MaxRows(flags_.engine));
  const kernels::ArchiveLayout archive = layout.Archive(config.attention);
  if (archive) {
    const engine::ArchiveOptions options = OptionsForEngine().archive;
    const int64_t groups = options.bytes / archive.GroupBytes();
    memory.archives = groups * (options.dir.empty() ? archive.GroupBytes() : archive.SketchBytes());
  }
  return memory;
}

engine::EngineOptions ModelLoader::OptionsForEngine() const {
  engine::EngineOptions options = flags_.engine;
  options.parked_type = kernels::CacheTypeNamed(flags_.parked_dtype);  // as-is: none
  if (flags_.no_archive) options.archive.bytes = 0;
  options.archive.tenant_bytes = [tenants = tenants_](const std::string& tenant) {
    return tenants->LimitsOf(tenant).archive_bytes;
  };
  return options;
}

sessions::SessionModel ModelLoader::SessionModelOf(const model::Checkpoint& checkpoint,
                                                   const std::string& fingerprint,
                                                   const engine::Engine& engine) const {
  const engine::Model& model = engine.model();
  const kernels::SlotLayout& layout = model.layout();
  const std::string_view rounded =
      engine::Rounds(checkpoint, weights_) ? engine::NameOf(weights_) : "";
  return {.fingerprint = sessions::ModelFingerprint(fingerprint, layout, rounded),
          .slot_bytes = layout.slot_bytes,
          .vocab_size = model.config().vocab_size,
          .archives = engine.archives(),
          .type = layout.type,
          .others = sessions::OtherSlotsOf(fingerprint, model.config().attention, layout.num_layers,
                                           layout.type, rounded)};
}

std::filesystem::path ModelLoader::SessionFolder(const std::string& name) const {
  const std::filesystem::path& dir = flags_.sessions.dir;
  return dir.empty() || name == first_ ? dir : dir / kModelsFolder / name;
}

int64_t ModelLoader::BufferBytes(const Flags& flags) {
  const int64_t request_bytes = flags.limits.request_bytes;
  const int64_t openai =
      flags.openai.empty() ? 0 : openai::OpenAiServer::BufferBytes(request_bytes);
  return service::Service::BufferBytes(request_bytes) + openai;
}

absl::StatusOr<std::unique_ptr<models::ServedModel>> ModelLoader::Load(
    const models::ModelSource& source) {
  const auto begin = std::chrono::steady_clock::now();
  LoadProgress::Model progress(progress_, source.name);
  auto served = LoadNow(source, progress);
  if (!served.ok()) return served;
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  spdlog::info("{} loaded in {:.2f} s", source.name, time.count());
  return served;
}

// The checkpoint itself is closed again: the engine has a copy of the weights.
absl::StatusOr<std::unique_ptr<models::ServedModel>> ModelLoader::LoadNow(
    const models::ModelSource& source, LoadProgress::Model& progress) {
  const auto checkpoint = model::Checkpoint::Open(source.folder);
  if (!checkpoint.ok()) return checkpoint.status();
  auto backend = MakeBackend();
  if (!backend.ok()) return backend.status();
  auto room = budget_.Reserve(source.name, MemoryOf(*checkpoint, **backend));
  if (!room.ok()) return room.status();
  const Parts parts{source, *checkpoint, *std::move(backend), *std::move(room), progress};
  auto served = checkpoint->config().attention.causal ? LoadDecoder(parts) : LoadEncoder(parts);
  if (!served.ok()) return served;
  if (const std::string excess = budget_.Excess(); !excess.empty()) {
    spdlog::warn("memory: {}", excess);
  }
  return served;
}

absl::StatusOr<std::unique_ptr<models::ServedModel>> ModelLoader::LoadEncoder(const Parts& parts) {
  auto encoder = engine::Encoder::Load(parts.checkpoint, parts.backend, {.weights = weights_},
                                       ReportTo(parts.progress, parts.checkpoint));
  if (!encoder.ok()) return encoder.status();
  const std::string& name = parts.source.name;
  const auto counts = std::make_shared<metrics::Metrics>(
      metrics::ModelFacts{.name = name,
                          .slots = flags_.engine.num_slots,
                          .weight_bytes = (*encoder)->weight_bytes(),
                          .without_reason = "encoded"});
  const auto device = std::make_shared<metrics::DeviceMetrics>(name, parts.backend);
  auto engine = engine::EncoderEngine::Create(*std::move(encoder), parts.checkpoint.tokenizer(),
                                              flags_.engine, counts);
  if (!engine.ok()) return engine.status();
  auto served = std::make_unique<models::ServedModel>(
      parts.source, *std::move(engine),
      std::vector<std::shared_ptr<const void>>{device, parts.room});
  exposition_.Add(counts);
  exposition_.Add(device);
  LogEncoder(*served);
  return served;
}

absl::StatusOr<std::unique_ptr<models::ServedModel>> ModelLoader::LoadDecoder(const Parts& parts) {
  const model::Checkpoint& checkpoint = parts.checkpoint;
  Fingerprint fingerprint(checkpoint);
  auto model = engine::Model::Load(checkpoint, parts.backend, OptionsForModel(flags_, weights_),
                                   ReportTo(parts.progress, checkpoint));
  if (!model.ok()) return model.status();

  const std::string& name = parts.source.name;
  const auto counts = std::make_shared<metrics::Metrics>(
      metrics::ModelFacts{.name = name,
                          .layout = (*model)->layout(),
                          .slots = flags_.engine.num_slots,
                          .weight_bytes = (*model)->weight_bytes()});
  const auto session_counts = std::make_shared<metrics::SessionMetrics>(name);
  const auto device = std::make_shared<metrics::DeviceMetrics>(name, parts.backend);
  auto engine =
      engine::Engine::Create(*std::move(model), checkpoint.tokenizer(), OptionsForEngine(), counts);
  if (!engine.ok()) return engine.status();
  sessions::SessionOptions options = flags_.sessions;
  options.dir = SessionFolder(name);
  parts.progress.Set("its fingerprint and sessions");
  auto store =
      sessions::SessionStore::Open(SessionModelOf(checkpoint, fingerprint.Await(), **engine),
                                   std::move(options), session_counts.get());
  if (!store.ok()) return store.status();
  const std::shared_ptr<sessions::SessionStore> sessions = *std::move(store);
  session_counts->Watch(sessions);
  counts->Watch((*engine)->archives());
  auto served = std::make_unique<models::ServedModel>(
      parts.source, *std::move(engine), sessions,
      std::vector<std::shared_ptr<const void>>{session_counts, device, parts.room},
      checkpoint.chat_template(), checkpoint.sampling_defaults());
  exposition_.Add(counts);
  exposition_.Add(session_counts);
  exposition_.Add(device);
  LogModel(*served);
  return served;
}

}  // namespace fmaserver
