#include "tests/emulator/fiber.h"

#include <memory>
#include <utility>

#include "boost/context/fixedsize_stack.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define FMA_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FMA_ADDRESS_SANITIZER
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define FMA_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FMA_THREAD_SANITIZER
#endif
#endif

#ifdef FMA_ADDRESS_SANITIZER
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FMA_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

namespace fmaserver::kernels::cuda::emulator {
namespace {

#ifdef FMA_ADDRESS_SANITIZER
constexpr size_t kStackBytes = 256 * 1024;
#else
constexpr size_t kStackBytes = 64 * 1024;
#endif

/// Tells the sanitizers that the stack of `bottom` is about to be the current one.
void AnnounceSwitch([[maybe_unused]] void** save_fake_stack, [[maybe_unused]] const void* bottom,
                    [[maybe_unused]] size_t size, [[maybe_unused]] void* tsan_fiber) {
#ifdef FMA_ADDRESS_SANITIZER
  __sanitizer_start_switch_fiber(save_fake_stack, bottom, size);
#endif
#ifdef FMA_THREAD_SANITIZER
  __tsan_switch_to_fiber(tsan_fiber, 0);
#endif
}

/// Must be called first on the new stack; stores in `bottom` and `size` which stack was left.
void FinishSwitch([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** bottom,
                  [[maybe_unused]] size_t* size) {
#ifdef FMA_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(fake_stack, bottom, size);
#endif
}

}  // namespace

Fiber::Fiber() {
  boost::context::fixedsize_stack allocator(kStackBytes);
  const boost::context::stack_context stack = allocator.allocate();
  stack_size_ = stack.size;
  stack_bottom_ = static_cast<const char*>(stack.sp) - stack.size;
  inside_ = boost::context::fiber(
      std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack), allocator,
      [this](boost::context::fiber&& from) {
        FinishSwitch(inside_fake_stack_, &outside_bottom_, &outside_size_);
        outside_ = std::move(from);
        Run();
        return std::move(outside_);
      });
#ifdef FMA_THREAD_SANITIZER
  inside_tsan_ = __tsan_create_fiber(0);
#endif
}

void Fiber::Run() {
  for (;;) {
    (*job_)();
    done_ = true;
    Yield();
  }
}

void Fiber::Resume() {
#ifdef FMA_THREAD_SANITIZER
  outside_tsan_ = __tsan_get_current_fiber();
#endif
  AnnounceSwitch(&outside_fake_stack_, stack_bottom_, stack_size_, inside_tsan_);
  inside_ = std::move(inside_).resume();
  FinishSwitch(outside_fake_stack_, nullptr, nullptr);
}

void Fiber::Yield() {
  AnnounceSwitch(&inside_fake_stack_, outside_bottom_, outside_size_, outside_tsan_);
  outside_ = std::move(outside_).resume();
  FinishSwitch(inside_fake_stack_, &outside_bottom_, &outside_size_);
}

}  // namespace fmaserver::kernels::cuda::emulator
