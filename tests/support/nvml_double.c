/* A stand-in for libnvidia-ml.so.1, driven by a memory-mapped state file that nvml_double.py owns.
 * Structures follow the public NVML ABI. Energy is the exact integral of the power the test sets, latched like
 * the hardware counter. No NVIDIA header is used. */
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, UNKNOWN = 999 };
enum { MAX_GPUS = 16, MAX_PROCESSES = 8, MAX_MIG = 7, NO_INSTANCE = -1 };

struct process { int64_t pid, mig; }; /* mig: number of the MIG slice, or -1 */

/* Mirrored field by field in nvml_double.py. All members are 8 bytes wide, so no padding. */
struct gpu {
    uint64_t sequence;      /* odd while the writer is inside */
    double at_seconds;      /* CLOCK_MONOTONIC of the last change of power */
    double energy_mj;       /* counter at that instant */
    double milliwatts;      /* power since then */
    double before_mw;       /* power before, for a latch instant that lies before the change */
    int64_t code;           /* of every call on this GPU */
    int64_t open_code;      /* of nvmlDeviceGetHandleByIndex */
    int64_t energy_code, usage_code;
    int64_t field_energy_code, field_instant_code, field_module_code, field_average_code;
    int64_t architecture;
    int64_t uuid_number;
    int64_t persistence_off;
    int64_t slices;         /* MIG: enabled with so many slices where above 0 */
    uint64_t energy_calls, power_calls; /* counted here, read by the test */
    int64_t processes_code;
    uint64_t process_count;
    struct process processes[MAX_PROCESSES];
    int64_t compute_slices[MAX_MIG]; /* of each MIG slice */
    char name[64];
};

struct state {
    uint64_t count;
    int64_t init_code;
    int64_t hang;           /* calls on a GPU do not return while this is set */
    double delay_seconds;   /* of every call on a GPU */
    double latch_seconds;   /* the counter changes at multiples of this */
    uint64_t inits;
    struct gpu gpus[MAX_GPUS];
};

typedef int ret;
typedef struct gpu *handle;
typedef union { double d; int si; unsigned ui; unsigned long ul; unsigned long long ull; signed long long sll; unsigned short us; } value;
typedef struct { unsigned field, scope; long long timestamp, latency; int type; ret code; value v; } field_value;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_info;

static struct state *state;
enum { MAX_SLICES = 7 };
static char slice_handles[MAX_GPUS][MAX_SLICES]; /* the address of a cell is the handle of a slice */
static int references;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (double)t.tv_sec + (double)t.tv_nsec * 1e-9; }
static void pause_seconds(double s) { struct timespec t = { (time_t)s, (long)((s - (double)(time_t)s) * 1e9) }; nanosleep(&t, 0); }

static ret check(handle h) {
    if (!state) return UNINITIALIZED;
    if (h < state->gpus || h >= state->gpus + state->count) return INVALID_ARGUMENT;
    if (state->delay_seconds > 0) pause_seconds(state->delay_seconds);
    while (*(volatile int64_t *)&state->hang) pause_seconds(0.001);
    return (ret)h->code;
}

static double energy(const struct gpu *g) {
    volatile const struct gpu *v = g;
    double t = now(), result;
    uint64_t before;
    if (state->latch_seconds > 0) t = floor(t / state->latch_seconds) * state->latch_seconds;
    do {
        before = __atomic_load_n(&g->sequence, __ATOMIC_ACQUIRE);
        double since = t - v->at_seconds;
        result = v->energy_mj + since * (since >= 0 ? v->milliwatts : v->before_mw);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while ((before & 1) || before != v->sequence);
    return result > 0 ? result : 0;
}

ret nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (references) { references++; return SUCCESS; }
    const char *path = getenv("NVML_DOUBLE_STATE");
    int fd = path ? open(path, O_RDWR) : -1;
    if (fd < 0) return UNKNOWN;
    void *map = mmap(0, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED) return UNKNOWN;
    struct state *opened = map;
    opened->inits++;
    if (opened->init_code) { ret code = (ret)opened->init_code; munmap(map, sizeof *state); return code; }
    state = opened;
    references = 1;
    return SUCCESS;
}
ret nvmlShutdown(void) {
    if (!references) return UNINITIALIZED;
    if (--references == 0) { munmap(state, sizeof *state); state = 0; }
    return SUCCESS;
}
const char *nvmlErrorString(ret code) { (void)code; return "error of the NVML double"; }
ret nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "999.01.double"); return SUCCESS; }
ret nvmlDeviceGetCount_v2(unsigned *count) { if (!state) return UNINITIALIZED; *count = (unsigned)state->count; return SUCCESS; }
ret nvmlDeviceGetHandleByIndex_v2(unsigned index, handle *h) {
    if (!state) return UNINITIALIZED;
    if (index >= state->count) return INVALID_ARGUMENT;
    *h = &state->gpus[index];
    return (ret)state->gpus[index].open_code;
}
static int slice_of(handle h, long *gpu, long *slice) {
    long offset = (char *)h - &slice_handles[0][0];
    *gpu = offset / MAX_SLICES;
    *slice = offset % MAX_SLICES;
    return offset >= 0 && offset < (long)sizeof slice_handles;
}
ret nvmlDeviceGetPersistenceMode(handle h, unsigned *on) { ret code = check(h); if (!code) *on = !h->persistence_off; return code; }
ret nvmlDeviceGetMigMode(handle h, unsigned *current, unsigned *pending) {
    ret code = check(h);
    if (!code) *current = *pending = h->slices > 0;
    return code;
}
ret nvmlDeviceGetMaxMigDeviceCount(handle h, unsigned *count) { ret code = check(h); if (!code) *count = MAX_SLICES; return code; }
ret nvmlDeviceGetMigDeviceHandleByIndex(handle h, unsigned index, handle *slice) {
    ret code = check(h);
    if (code) return code;
    if (index >= h->slices) return NOT_FOUND;
    *slice = (handle)&slice_handles[h - state->gpus][index];
    return SUCCESS;
}
ret nvmlDeviceGetHandleByUUID(const char *uuid, handle *h) {
    long gpu, slice;
    if (!state) return UNINITIALIZED;
    if (sscanf(uuid, "MIG-00000000-0000-0000-0000-%06ld%06ld", &gpu, &slice) == 2 && gpu < (long)state->count && slice < state->gpus[gpu].slices) {
        *h = (handle)&slice_handles[gpu][slice];
        return SUCCESS;
    }
    if (sscanf(uuid, "GPU-00000000-0000-0000-0000-%012ld", &gpu) == 1)
        for (unsigned i = 0; i < state->count; i++)
            if (state->gpus[i].uuid_number == gpu) { *h = &state->gpus[i]; return SUCCESS; }
    return NOT_FOUND;
}
ret nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle h, handle *parent) {
    long gpu, slice;
    if (!state) return UNINITIALIZED;
    if (!slice_of(h, &gpu, &slice)) return INVALID_ARGUMENT;
    *parent = &state->gpus[gpu];
    return SUCCESS;
}
ret nvmlDeviceGetUUID(handle h, char *text, unsigned size) {
    long gpu, slice;
    if (slice_of(h, &gpu, &slice)) { snprintf(text, size, "MIG-00000000-0000-0000-0000-%06ld%06ld", gpu, slice); return SUCCESS; }
    ret code = check(h);
    if (!code) snprintf(text, size, "GPU-00000000-0000-0000-0000-%012lld", (long long)h->uuid_number);
    return code;
}
ret nvmlDeviceGetName(handle h, char *text, unsigned size) { ret code = check(h); if (!code) snprintf(text, size, "%s", h->name); return code; }
ret nvmlDeviceGetPciInfo_v3(handle h, pci_info *info) {
    ret code = check(h);
    if (code) return code;
    memset(info, 0, sizeof *info);
    info->bus = 0x10u + (unsigned)(h - state->gpus);
    snprintf(info->bus_id, sizeof info->bus_id, "00000000:%02X:00.0", info->bus);
    return SUCCESS;
}
ret nvmlDeviceGetArchitecture(handle h, unsigned *architecture) { ret code = check(h); if (!code) *architecture = (unsigned)h->architecture; return code; }
ret nvmlDeviceGetEnforcedPowerLimit(handle h, unsigned *mw) { ret code = check(h); if (!code) *mw = 700000; return code; }
ret nvmlDeviceGetPowerUsage(handle h, unsigned *mw) {
    ret code = check(h);
    if (code) return code;
    h->power_calls++;
    *mw = (unsigned)h->milliwatts;
    return (ret)h->usage_code;
}
ret nvmlDeviceGetTotalEnergyConsumption(handle h, unsigned long long *mj) {
    ret code = check(h);
    if (code) return code;
    h->energy_calls++;
    *mj = (unsigned long long)energy(h);
    return (ret)h->energy_code;
}
ret nvmlDeviceGetFieldValues(handle h, int count, field_value *values) {
    ret code = check(h);
    if (code) return code;
    for (int i = 0; i < count; i++) {
        field_value *f = &values[i];
        f->timestamp = (long long)time(0) * 1000000;
        f->latency = 100;
        f->code = NOT_SUPPORTED;
        memset(&f->v, 0xa5, sizeof f->v); /* what a reader of the wrong union member would get */
        if (f->field == 83 || f->field == 191) {
            h->energy_calls++;
            f->type = 3;
            f->v.ull = (unsigned long long)energy(h);
            f->code = (ret)h->field_energy_code;
        } else if ((f->field == 186 || f->field == 185) && f->scope <= 1) {
            h->power_calls++;
            f->type = 1;
            f->v.ui = (unsigned)h->milliwatts;
            f->code = (ret)(f->field == 185 ? h->field_average_code : f->scope ? h->field_module_code : h->field_instant_code);
        }
    }
    return SUCCESS;
}

typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process_info;
typedef struct { unsigned sm, copy, decoder, encoder, jpeg, ofa, gpu_slices, compute_slices; unsigned long long memory; } attributes;

ret nvmlDeviceGetMinorNumber(handle h, unsigned *minor) { ret code = check(h); if (!code) *minor = (unsigned)(h - state->gpus); return code; }
ret nvmlDeviceGetGpuInstanceId(handle h, unsigned *id) {
    long gpu, slice;
    if (!slice_of(h, &gpu, &slice)) return INVALID_ARGUMENT;
    *id = (unsigned)slice + 1;
    return SUCCESS;
}
ret nvmlDeviceGetComputeInstanceId(handle h, unsigned *id) {
    long gpu, slice;
    if (!slice_of(h, &gpu, &slice)) return INVALID_ARGUMENT;
    *id = 0;
    return SUCCESS;
}
ret nvmlDeviceGetAttributes_v2(handle h, attributes *a) {
    long gpu, slice;
    if (!slice_of(h, &gpu, &slice)) return INVALID_ARGUMENT;
    memset(a, 0, sizeof *a);
    a->gpu_slices = a->compute_slices = (unsigned)state->gpus[gpu].compute_slices[slice];
    return SUCCESS;
}
/* As the driver answers without privileges: a parent lists only what runs outside of MIG slices. */
ret nvmlDeviceGetComputeRunningProcesses_v3(handle h, unsigned *count, process_info *infos) {
    long gpu, slice = NO_INSTANCE;
    struct gpu *g = h;
    if (slice_of(h, &gpu, &slice)) g = &state->gpus[gpu];
    else { ret code = check(h); if (code) return code; slice = NO_INSTANCE; }
    if (g->processes_code) return (ret)g->processes_code;
    unsigned found = 0, room = infos ? *count : 0;
    for (uint64_t i = 0; i < g->process_count; i++) {
        if (g->processes[i].mig != slice) continue;
        if (found < room) {
            infos[found].pid = (unsigned)g->processes[i].pid;
            infos[found].used = 1;
            infos[found].gpu_instance = slice < 0 ? 0xFFFFFFFFu : (unsigned)slice + 1;
            infos[found].compute_instance = slice < 0 ? 0xFFFFFFFFu : 0;
        }
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
