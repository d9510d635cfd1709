/* A Vulkan driver that is Mesa's software device, less one feature.
 *
 * CubeCL compiles kernels to SPIR-V where a device has the Vulkan memory model, and to WGSL, which wgpu translates, where
 * it has not. The SPIR-V ends lavapipe 22.3 (Debian 12) with a null pointer in its reader; WGSL does not. So this says
 * that there is no memory model, and passes on everything else. LAVAPIPE is the library to wrap.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_MODEL_FEATURES 1000211000u

typedef void (*function)(void);

/* The head of each structure in a chain. */
struct link {
    uint32_t type;
    struct link *next;
};

/* VkPhysicalDeviceVulkanMemoryModelFeatures */
struct memory_model {
    struct link link;
    uint32_t model, device_scope, availability_visibility_chains;
};

static void (*features_of_driver)(void *device, struct link *features);

static void *driver(const char *name) {
    static void *library;
    if (!library) {
        const char *path = getenv("LAVAPIPE");
        library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    }
    return library ? dlsym(library, name) : NULL;
}

static void features(void *device, struct link *asked) {
    features_of_driver(device, asked);
    for (struct link *link = asked->next; link; link = link->next) {
        if (link->type == MEMORY_MODEL_FEATURES) {
            struct memory_model *found = (struct memory_model *)link;
            found->model = found->device_scope = found->availability_visibility_chains = 0;
        }
    }
}

static function wrapped(const char *name, function found) {
    if (found && (!strcmp(name, "vkGetPhysicalDeviceFeatures2") || !strcmp(name, "vkGetPhysicalDeviceFeatures2KHR"))) {
        features_of_driver = (void (*)(void *, struct link *))found;
        return (function)features;
    }
    return found;
}

function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    function (*find)(void *, const char *) = driver("vk_icdGetInstanceProcAddr");
    return find ? wrapped(name, find(instance, name)) : NULL;
}

function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    function (*find)(void *, const char *) = driver("vk_icdGetPhysicalDeviceProcAddr");
    return find ? wrapped(name, find(instance, name)) : NULL;
}

int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    int (*negotiate)(uint32_t *) = driver("vk_icdNegotiateLoaderICDInterfaceVersion");
    return negotiate ? negotiate(version) : -3; /* VK_ERROR_INITIALIZATION_FAILED */
}
