#include "server/models/model_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "tests/server/service/test_engine.h"

namespace fmaserver::testing {
namespace {

using models::ModelPtr;
using models::ModelRegistry;
using models::ModelSource;

std::unique_ptr<models::ServedModel> MakeModel(const ModelSource& source,
                                               std::shared_ptr<const void> companion = nullptr) {
  auto engine = MakeTestEngine(ByteModelConfig(), {.num_slots = 1});
  auto sessions = MakeTestSessions(*engine, {});
  return std::make_unique<models::ServedModel>(
      source, std::move(engine), std::move(sessions),
      std::vector<std::shared_ptr<const void>>{std::move(companion)});
}

std::string NamesOf(const ModelRegistry& registry) {
  std::string names;
  for (const ModelPtr& model : registry.List()) names += model->name() + " ";
  return names;
}

TEST(ModelRegistryTest, TheFirstIsTheDefaultAndOthersAreFoundByName) {
  ModelRegistry registry([](const ModelSource& source) { return MakeModel(source); });
  ASSERT_TRUE(registry.Load({"a", ""}).ok());
  ASSERT_TRUE(registry.Load({"b", ""}).ok());
  EXPECT_EQ((*registry.Find(""))->name(), "a");
  EXPECT_EQ((*registry.Find("b"))->name(), "b");
  EXPECT_EQ(NamesOf(registry), "a b ");
  const absl::Status unknown = registry.Find("c\n").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(unknown.message(), "model is \"c\\n\"; allowed: a, b");
}

TEST(ModelRegistryTest, AliasesAreNamesToo) {
  ModelRegistry registry([](const ModelSource& source) { return MakeModel(source); });
  ASSERT_TRUE(registry.Load({"a", "", {"x", "y"}}).ok());
  EXPECT_EQ((*registry.Find("y"))->name(), "a");
  for (const ModelSource& taken :
       {ModelSource{"x", ""}, ModelSource{"b", "", {"a"}}, ModelSource{"b", "", {"z", "y"}}}) {
    EXPECT_EQ(registry.Load(taken).status().code(), absl::StatusCode::kAlreadyExists);
  }
  ASSERT_TRUE(registry.Load({"b", "", {"z"}}).ok()) << "nothing of the refused ones is left";
  EXPECT_EQ(registry.Find("c").status().message(), "model is \"c\"; allowed: a, x, y, b, z");
  ASSERT_TRUE(registry.Unload("x", absl::ZeroDuration()).ok());
  EXPECT_EQ(registry.Find("y").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(registry.Load({"y", ""}).ok()) << "its names are free again";
}

TEST(ModelRegistryTest, AnErrorOfLoadingChangesNothing) {
  bool fail = false;
  ModelRegistry registry(
      [&](const ModelSource& source) -> absl::StatusOr<std::unique_ptr<models::ServedModel>> {
        if (fail) return absl::ResourceExhaustedError("no memory");
        return MakeModel(source);
      });
  ASSERT_TRUE(registry.Load({"a", ""}).ok());
  EXPECT_EQ(registry.Load({"a", ""}).status().code(), absl::StatusCode::kAlreadyExists);
  fail = true;
  EXPECT_EQ(registry.Load({"b", ""}).status().message(), "no memory");
  EXPECT_EQ(NamesOf(registry), "a ");
  fail = false;
  EXPECT_TRUE(registry.Load({"b", ""}).ok()) << "the name is free again";
}

TEST(ModelRegistryTest, ANameIsTakenWhileItIsLoaded) {
  std::promise<void> go;
  std::promise<void> loading;
  ModelRegistry registry([&](const ModelSource& source) {
    if (source.name == "slow") {
      loading.set_value();
      go.get_future().wait();
    }
    return MakeModel(source);
  });
  ASSERT_TRUE(registry.Load({"a", ""}).ok());
  auto slow = std::async(std::launch::async, [&] { return registry.Load({"slow", ""}).status(); });
  loading.get_future().wait();
  EXPECT_EQ(registry.Load({"slow", ""}).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(registry.Find("slow").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(registry.Find("a").ok()) << "others are found meanwhile";
  go.set_value();
  EXPECT_TRUE(slow.get().ok());
  EXPECT_TRUE(registry.Find("slow").ok());
}

TEST(ModelRegistryTest, UnloadingWaitsForHoldersAndFreesTheModel) {
  const auto companion = std::make_shared<int>();
  const std::weak_ptr<int> alive = companion;
  ModelRegistry registry([&](const ModelSource& source) { return MakeModel(source, companion); });
  ASSERT_TRUE(registry.Load({"a", ""}).ok());
  ASSERT_TRUE(registry.Load({"b", ""}).ok());
  EXPECT_EQ(companion.use_count(), 3);
  ModelPtr held = *registry.Find("a");
  auto unload =
      std::async(std::launch::async, [&] { return registry.Unload("a", absl::ZeroDuration()); });
  EXPECT_TRUE(Eventually([&] { return !registry.Find("a").ok(); }));
  EXPECT_EQ((*registry.Find(""))->name(), "b") << "the next one is the first";
  EXPECT_EQ(registry.Load({"a", ""}).status().code(), absl::StatusCode::kAlreadyExists)
      << "its session directory is still in use";
  EXPECT_EQ(held->name(), "a");
  EXPECT_EQ(companion.use_count(), 3) << "whoever holds it keeps it whole";
  held.reset();
  EXPECT_TRUE(unload.get().ok());
  EXPECT_EQ(companion.use_count(), 2);
  EXPECT_TRUE(registry.Load({"a", ""}).ok());
  EXPECT_EQ(NamesOf(registry), "b a ");
}

TEST(ModelRegistryTest, UnloadingDoesNotWaitForEverForWhoHoldsTheModel) {
  const auto companion = std::make_shared<int>();
  ModelRegistry registry([&](const ModelSource& source) { return MakeModel(source, companion); },
                         absl::ZeroDuration());
  ASSERT_TRUE(registry.Load({"a", ""}).ok());
  ASSERT_TRUE(registry.Load({"b", ""}).ok());
  ModelPtr held = *registry.Find("a");
  const absl::Status status = registry.Unload("a", absl::ZeroDuration());
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(status.message()),
              ::testing::StartsWith("model \"a\" is no longer served"));
  EXPECT_EQ(NamesOf(registry), "b ");
  EXPECT_EQ(registry.Load({"a", ""}).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(held->name(), "a");
  EXPECT_EQ(companion.use_count(), 3) << "whoever holds it keeps it whole";
  held.reset();
  EXPECT_TRUE(Eventually([&] { return companion.use_count() == 2; }));
  EXPECT_TRUE(Eventually([&] { return registry.Load({"a", ""}).ok(); })) << "the name is free";
}

TEST(ModelRegistryTest, ARegistryEndsAfterAModelThatIsStillHeld) {
  const auto companion = std::make_shared<int>();
  ModelPtr held;
  std::thread holder;
  {
    ModelRegistry registry([&](const ModelSource& source) { return MakeModel(source, companion); },
                           absl::ZeroDuration());
    ASSERT_TRUE(registry.Load({"a", ""}).ok());
    ASSERT_TRUE(registry.Load({"b", ""}).ok());
    held = *registry.Find("a");
    EXPECT_FALSE(registry.Unload("a", absl::ZeroDuration()).ok());
    holder = std::thread([&] { held.reset(); });
  }
  EXPECT_EQ(companion.use_count(), 1);
  holder.join();
}

TEST(ModelRegistryTest, UnknownAndOnlyModelsAreNotUnloaded) {
  ModelRegistry registry([](const ModelSource& source) { return MakeModel(source); });
  ASSERT_TRUE(registry.Load({"a", ""}).ok());
  EXPECT_EQ(registry.Unload("b", absl::ZeroDuration()).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(registry.Unload("a", absl::ZeroDuration()).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(NamesOf(registry), "a ");
}

}  // namespace
}  // namespace fmaserver::testing
