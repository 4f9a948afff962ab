// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory for the tree: pages and objects out of one arena, always zeroed, freed objects reused
 * last in, first out. Functions here are known to the tree by their names and calling convention
 * alone, so one definition serves every release's spelling.
 */
#include <stddef.h>
#include <string.h>

#include "seam.h"

#define PAGE 4096UL
#define FIRST_PAGE 0x1000UL	/* 16 MiB of host physical memory stay unused */
#define ORDERS 11
#define CLASSES 40
#define HEADER 64UL		/* keeps every object on its own cache lines */

static unsigned long next_page = FIRST_PAGE;
static void *free_pages_of[ORDERS];
static void *free_objects_of[CLASSES];

static void *take(void **list)
{
	void *found = *list;

	if (found)
		*list = *(void **)found;
	return found;
}

static void give(void **list, void *object)
{
	*(void **)object = *list;
	*list = object;
}

static unsigned long arena_pages(unsigned long count)
{
	unsigned long first = next_page;

	if (first + count > RF_ARENA_BYTES / PAGE)
		rf_stop("out-of-memory", "the kernel took all of its arena");
	next_page += count;
	return RF_ARENA + first * PAGE;
}

#ifdef __SANITIZE_ADDRESS__
void __asan_poison_memory_region(const volatile void *, size_t);
void __asan_unpoison_memory_region(const volatile void *, size_t);

/* A freed page is nobody's for a while, so that a late access to it is seen. */
#define QUARANTINE 4096
static void *quarantine[QUARANTINE];
static unsigned int quarantined;

static void give_page(void *page, unsigned int order)
{
	void **place = &quarantine[quarantined++ % QUARANTINE];
	void *old = *place;

	if (order) {
		give(&free_pages_of[order], page);
		return;
	}
	__asan_poison_memory_region(page, PAGE);
	*place = page;
	if (old) {
		__asan_unpoison_memory_region(old, PAGE);
		give(&free_pages_of[0], old);
	}
}
#else
static void give_page(void *page, unsigned int order)
{
	give(&free_pages_of[order], page);
}
#endif

void *rf_alloc_pages(unsigned int order)
{
	void *found;

	if (order >= ORDERS)
		rf_stop("out-of-memory", "the kernel asked for more than 4 MiB in one piece");
	found = take(&free_pages_of[order]);
	if (!found) {
		/* Aligned to its size, as the buddy allocator's are. */
		unsigned long count = 1UL << order;

		next_page = (next_page + count - 1) & ~(count - 1);
		found = (void *)arena_pages(count);
	}
	memset(found, 0, PAGE << order);
	return found;
}

void rf_free_pages(unsigned long address, unsigned int order)
{
	if (!address)
		return;
	rf_tlb_freed(address);
	give_page((void *)address, order);
}

#ifdef __SANITIZE_ADDRESS__
/* Objects are the sanitizer's: it knows where each was taken and given back. */
void *malloc(size_t);
void *calloc(size_t, size_t);
void free(void *);

void *rf_alloc(unsigned long bytes)
{
	return calloc(1, bytes ? bytes : 1);
}

void rf_free(const void *address)
{
	free((void *)address);
}
#else
static unsigned int class_of(unsigned long bytes)
{
	unsigned int class = 0;

	while ((64UL << class) < bytes)
		class++;
	return class;
}

/* Sizes are powers of two from 64 bytes on; the class stands before the object. */
void *rf_alloc(unsigned long bytes)
{
	static unsigned long rest, rest_end;
	unsigned int class = class_of(bytes);
	unsigned long size = (64UL << class) + HEADER;
	char *found;

	if (class >= CLASSES)
		rf_stop("out-of-memory", "the kernel asked for an object beyond any size");
	found = take(&free_objects_of[class]);
	if (!found) {
		if (size >= 16 * PAGE) {
			found = (char *)arena_pages((size + PAGE - 1) / PAGE);
		} else {
			if (rest + size > rest_end) {
				rest = arena_pages(256);
				rest_end = rest + 256 * PAGE;
			}
			found = (char *)rest;
			rest += size;
		}
		found += HEADER;
	}
	memset(found, 0, 64UL << class);
	*(unsigned int *)(found - HEADER) = class;
	return found;
}

void rf_free(const void *address)
{
	if (address)
		give(&free_objects_of[*(unsigned int *)((char *)address - HEADER)],
		     (void *)address);
}
#endif

/* --- slab caches -------------------------------------------------------------------------------- */

struct kmem_cache {
	unsigned long size;
	void (*constructor)(void *object);
};

static struct kmem_cache *new_cache(unsigned int size, void (*constructor)(void *))
{
	struct kmem_cache *cache = rf_alloc(sizeof(*cache));

	cache->size = size;
	cache->constructor = constructor;
	return cache;
}

struct kmem_cache *kmem_cache_create(const char *name, unsigned int size, unsigned int align,
				     unsigned long flags, void (*constructor)(void *))
{
	return new_cache(size, constructor);
}

struct kmem_cache *kmem_cache_create_usercopy(const char *name, unsigned int size,
					      unsigned int align, unsigned long flags,
					      unsigned int offset, unsigned int bytes,
					      void (*constructor)(void *))
{
	return new_cache(size, constructor);
}

struct kmem_cache *__kmem_cache_create_args(const char *name, unsigned int size, void *args,
					    unsigned long flags)
{
	return new_cache(size, NULL);
}

void kmem_cache_destroy(struct kmem_cache *cache)
{
}

/* Of a cache that a vendor module would have made: larger than any object in x86.c. */
#define UNKNOWN_SIZE 16384

void *kmem_cache_alloc(struct kmem_cache *cache, unsigned int flags)
{
	void *object = rf_alloc(cache ? cache->size : UNKNOWN_SIZE);

	if (cache && cache->constructor)
		cache->constructor(object);
	return object;
}

void *kmem_cache_alloc_noprof(struct kmem_cache *cache, unsigned int flags)
{
	return kmem_cache_alloc(cache, flags);
}

void kmem_cache_free(struct kmem_cache *cache, void *object)
{
	rf_free(object);
}

/* --- kmalloc, vmalloc: one name for each shape, and its aliases ---------------------------------- */

#define ALIAS(name, of) __typeof__(of) name __attribute__((alias(#of)))

void *__kmalloc(unsigned long bytes, unsigned int flags)
{
	return rf_alloc(bytes);
}
ALIAS(__kmalloc_noprof, __kmalloc);
ALIAS(__vmalloc, __kmalloc);
ALIAS(__vmalloc_noprof, __kmalloc);

void *__kmalloc_node(unsigned long bytes, unsigned int flags, int node)
{
	return rf_alloc(bytes);
}
ALIAS(kvmalloc_node, __kmalloc_node);
ALIAS(kvmalloc_node_noprof, __kmalloc_node);
ALIAS(__kvmalloc_node_noprof, __kmalloc_node);

void *kmalloc_trace(void *cache, unsigned int flags, unsigned long bytes)
{
	return rf_alloc(bytes);
}
ALIAS(kmem_cache_alloc_trace, kmalloc_trace);
ALIAS(__kmalloc_cache_noprof, kmalloc_trace);

void *__vcalloc(unsigned long count, unsigned long bytes, unsigned int flags)
{
	unsigned long total;

	return __builtin_mul_overflow(count, bytes, &total) ? NULL : rf_alloc(total);
}
ALIAS(__vcalloc_noprof, __vcalloc);

void *vzalloc(unsigned long bytes)
{
	return rf_alloc(bytes);
}
ALIAS(vmalloc, vzalloc);
ALIAS(vzalloc_noprof, vzalloc);
ALIAS(vmalloc_noprof, vzalloc);

void kfree(const void *address)
{
	rf_free(address);
}
ALIAS(kvfree, kfree);
ALIAS(vfree, kfree);

void *__alloc_percpu(unsigned long bytes, unsigned long align)
{
	return rf_alloc(bytes);
}

void *pcpu_alloc_noprof(unsigned long bytes, unsigned long align, _Bool reserved, unsigned int flags)
{
	return rf_alloc(bytes);
}
ALIAS(free_percpu, kfree);

unsigned long __get_free_pages(unsigned int flags, unsigned int order)
{
	return (unsigned long)rf_alloc_pages(order);
}
ALIAS(get_free_pages_noprof, __get_free_pages);

unsigned long get_zeroed_page(unsigned int flags)
{
	return (unsigned long)rf_alloc_pages(0);
}
ALIAS(get_zeroed_page_noprof, get_zeroed_page);

void free_pages(unsigned long address, unsigned int order)
{
	rf_free_pages(address, order);
}

/* struct page has a fixed place and 64 bytes: the n-th is host frame n's. */
#define PAGE_STRUCT 64UL

static void *page_of(unsigned long address)
{
	return (void *)(RF_VMEMMAP + (address - RF_ARENA) / PAGE * PAGE_STRUCT);
}

void *__alloc_pages(unsigned int flags, unsigned int order, int node, void *nodes)
{
	return page_of((unsigned long)rf_alloc_pages(order));
}
ALIAS(__alloc_pages_noprof, __alloc_pages);
ALIAS(__alloc_pages_nodemask, __alloc_pages);

void *alloc_pages(unsigned int flags, unsigned int order)
{
	return page_of((unsigned long)rf_alloc_pages(order));
}
ALIAS(alloc_pages_noprof, alloc_pages);

void __free_pages(void *page, unsigned int order)
{
	unsigned long frame = ((unsigned long)page - RF_VMEMMAP) / PAGE_STRUCT;

	rf_free_pages(RF_ARENA + frame * PAGE, order);
}
